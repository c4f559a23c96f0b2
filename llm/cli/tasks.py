"""`python -m llm task`: one job on texts or files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

import llm.tasks
from llm.errors import ModelError
from llm.tasks import tables
from llm.tasks.registry import TaskSpec
from llm.tasks.running import entry_for
from llm.tasks.shapes import as_pipeline

notes = Console(stderr=True)


def inputs_of(spec: TaskSpec, given: list[str]) -> list[tuple[str, tuple[Any, ...]]]:
    """What each run works on, with its name: texts as they are, `@file` for a text in a file, files for the others."""
    texts = [Path(one[1:]).read_text(encoding="utf-8-sig") if one.startswith("@") else one for one in given]
    if len(spec.inputs) == 2:
        if len(texts) != 2:
            raise typer.BadParameter("give the question and the text, in this order")
        return [(given[0], (texts[0], texts[1]))]
    return [(name, (text,)) for name, text in zip(given, texts, strict=True)]


def options_of(values: list[str]) -> dict[str, Any]:
    """`top_k=3` as numbers, true and false, else as words; `labels=a,b` as a list."""
    found: dict[str, Any] = {}
    for value in values:
        name, mark, word = value.partition("=")
        if not mark:
            raise typer.BadParameter(f"{value!r} is not name=value", param_hint="--set")
        plain = {"true": True, "false": False}
        number = int(word) if word.lstrip("-").isdigit() else word
        listed = tuple(word.split(",")) if name in ("labels", "kinds", "targets") else number
        found[name] = plain.get(word, listed)
    return found


def run_all(spec: TaskSpec, given: list[str], model: str, options: dict[str, Any]) -> tuple[list[Any], int]:
    """The answers in the shape of the pipelines, and how many inputs failed; with one input, its error is raised."""
    answers, failed = [], 0
    runs = inputs_of(spec, given)
    for name, inputs in runs:
        try:
            answers.append(as_pipeline(llm.tasks.run(spec.task, *inputs, model=model, **options)))
        except ModelError as error:
            if len(runs) == 1:
                raise
            notes.print(f"[red]{escape(name[:60])}: {escape(str(error))}[/red]")
            answers.append(None)
            failed += 1
    return answers, failed


def run_table(spec: TaskSpec, file: Path, model: str, asked: dict[str, Any], as_json: bool) -> int:
    """A table's rows to the output as they come: CSV, or a line of JSON each. Returns how many failed.

    Raises:
        ModelError: the table cannot be read or lacks a column. BadParameter: the job has none for tables.
    """
    if spec.run is None or len(asked["columns"]) != len(spec.inputs):
        raise typer.BadParameter(f"{spec.task} takes --column for: {', '.join(spec.inputs)}", param_hint="--column")
    table = tables.read_table(file, file.name)
    rows: list[dict[str, Any]] = []
    for row in tables.answered(spec, entry_for(spec, model), table, asked, None):
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            line = tables.table_as_csv([row], asked["columns"]).decode("utf-8-sig").splitlines()
            typer.echo("\n".join(line[1:] if rows else line))
        rows.append(row)
    found = tables.compared(rows)
    failed = sum("error_code" in row for row in rows)
    notes.print(f"{len(rows) - failed} done, {failed} could not be done")
    if found is not None:
        notes.print(f"accuracy {found.accuracy:.3f}, macro F1 {found.macro_f1:.3f} of {found.count} rows")
    return failed


def line_of(row: Any) -> str:
    """One row of an answer for people: its words and its score."""
    if "summary_text" in row or "translation_text" in row:
        return str(row.get("summary_text") or row.get("translation_text"))
    words = [str(row[key]) for key in ("word", "answer", "token_str", "entity_group", "label") if key in row]
    place = [f"{row['start']}-{row['end']}"] if "start" in row else []
    place += [str(tuple(row["box"].values()))] if "box" in row else []
    score = [] if row.get("score") is None else [f"{row['score']:.3f}"]
    return "\t".join([*words, *place, *score])
