"""One job over a column of a table (CSV in any encoding, Excel), in the background; and how its rows compare.

Rows are kept as lines of JSON beside the job: a record with 100,000 rows would be written anew with each of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import find
from llm.documents.sheets import csv_rows, workbook_rows
from llm.documents.source import Source
from llm.errors import Cancelled, ModelError, NoSuchColumn, TableTooLong
from llm.jobs import Job, error_fields
from llm.tasks.registry import TaskSpec, spec_of
from llm.tasks.running import run as run_task
from llm.tasks.shapes import as_pipeline
from llm.vision.sheet import as_csv

MOST_ROWS = 200_000
MOST_LABELS = 30
"""A confusion matrix of more cannot be read."""
COMPARED: frozenset[Task] = frozenset({"text-classification", "question-answering", "fill-mask"})
"""Jobs whose answer is a word or two, so that it is right or wrong."""
_ROWS_FILE = "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Table:
    """The first sheet that has rows. columns: the texts of its first row. rows: number as people see it, and cells."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Sequence[str]]]

    def column(self, name: str) -> int:
        """
        Raises:
            NoSuchColumn
        """
        if name not in self.columns:
            raise NoSuchColumn(column=name[:100], known=", ".join(self.columns)[:500])
        return self.columns.index(name)


def read_table(path: Path, name: str) -> Table:
    """
    Raises:
        ModelError: it cannot be read, is empty or has more than `MOST_ROWS` rows.
    """
    source = Source(path, name)
    if name.lower().endswith((".xlsx", ".xlsm")):
        rows = next((found for _, sheet in workbook_rows(source) if (found := _filled(sheet))), [])
    else:
        rows = _filled(csv_rows(source))
    if not rows:
        return Table((), ())
    columns = tuple(cell.strip() or f"#{at}" for at, cell in enumerate(rows[0][1], start=1))
    return Table(columns, rows[1:])


def _filled(rows: Any) -> list[tuple[int, Sequence[str]]]:
    """Rows in which anything stands, the names of the columns among them."""
    found: list[tuple[int, Sequence[str]]] = []
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            found.append((number, cells))
        if len(found) > MOST_ROWS + 1:
            raise TableTooLong(most=f"{MOST_ROWS:,}")
    return found


def run(job: Job) -> dict[str, Any]:
    """Does `task` with `model` for each row of the one input, and goes on after the rows that are there.

    Params: columns (one for each of the job's inputs, in order), gold (a column, or empty), options.
    The result counts `done` and `failed`; the rows are `rows_of(folder)`.
    """
    name, path = job.inputs[0]
    table = read_table(path, name)
    spec, entry = spec_of(job.params["task"]), find(job.params["model"])
    kept = rows_of(job.folder)
    failed = sum("error_code" in row for row in kept)
    done = len(kept)
    with (job.folder / _ROWS_FILE).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in kept)  # without a line cut by a kill
        job.progress(done, len(table.rows), "rows")
        for row in answered(spec, entry, table, job.params, job.cancel, skip=done):
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
            file.flush()
            done += 1
            failed += "error_code" in row
            job.progress(done, len(table.rows), "rows")
    return {"done": done - failed, "failed": failed}


def answered(
    spec: TaskSpec, entry: ModelEntry, table: Table, asked: Mapping[str, Any], cancel: Cancel | None, skip: int = 0
) -> Iterator[dict[str, Any]]:
    """A row for each of the table's: {row, inputs, gold?, said, answer}, or why it failed in place of the last two.

    asked: columns, gold and options, as of a job's params.

    Raises:
        NoSuchColumn. Cancelled.
    """
    places = [table.column(name) for name in asked["columns"]]
    gold = table.column(asked["gold"]) if asked.get("gold") else None
    for number, cells in table.rows[skip:]:
        if cancel is not None and cancel.is_set():
            raise Cancelled(what=f"Row {number}")
        inputs = [_cell(cells, place) for place in places]
        row: dict[str, Any] = {"row": number, "inputs": inputs}
        if gold is not None:
            row["gold"] = _cell(cells, gold).strip()
        try:
            answer = as_pipeline(run_task(spec.task, *inputs, model=entry, cancel=cancel, **asked.get("options", {})))
            yield row | {"said": said(spec.task, answer), "answer": answer}
        except Cancelled:
            raise
        except ModelError as error:
            yield row | error_fields(error)


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def said(task: Task, answer: Any) -> str:
    """An answer in the shape of the pipelines, in a few words: the best label, the names, the new text."""
    if task == "token-classification":
        return ", ".join(f"{one['word']} ({one['entity_group']})" for one in answer)
    if task == "fill-mask" and answer and isinstance(answer[0], list):
        return ", ".join(gap[0]["token_str"] for gap in answer if gap)
    if task == "text-classification":
        return str(max(answer, key=lambda one: one["score"])["label"])
    key = {"question-answering": "answer", "fill-mask": "token_str"}.get(task) or spec_of(task).text_key
    return str(answer[0][key]).strip() if answer else ""


def rows_of(folder: Path, most: int | None = None) -> list[dict[str, Any]]:
    """The rows of a job's folder so far, or the first of them; a last line that a kill has cut is none."""
    try:
        with (folder / _ROWS_FILE).open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in islice(file, most) if line.endswith("\n")]
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers beside the right ones, in rows that have both. Letters' case and blanks around do not count.

    f1: of each label; macro_f1: their mean. confusion: how often each right label (row) got each label (column).
    labels is empty, and what is by label with it, where there are more than `MOST_LABELS`.
    """

    count: int
    right: int
    labels: tuple[str, ...] = ()
    f1: tuple[float, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    @property
    def accuracy(self) -> float:
        return self.right / self.count

    @property
    def macro_f1(self) -> float:
        return sum(self.f1) / len(self.f1) if self.f1 else 0.0


def compared(rows: Sequence[Mapping[str, Any]]) -> Comparison | None:
    """None where no row has a right answer and one of the model's. Rows that failed are left out, not wrong."""
    pairs = [(row["gold"], row["said"]) for row in rows if row.get("gold") and "said" in row]
    if not pairs:
        return None
    shown: dict[str, str] = {}
    for text in (text for pair in pairs for text in pair):
        shown.setdefault(text.strip().casefold(), text.strip())
    counts = Counter((gold.strip().casefold(), answer.strip().casefold()) for gold, answer in pairs)
    right = sum(number for (gold, answer), number in counts.items() if gold == answer)
    if len(shown) > MOST_LABELS:
        return Comparison(len(pairs), right)
    keys = sorted(shown)
    confusion = tuple(tuple(counts[gold, answer] for answer in keys) for gold in keys)
    f1 = tuple(
        2 * confusion[at][at] / max(1, sum(confusion[at]) + sum(row[at] for row in confusion))
        for at in range(len(keys))
    )
    return Comparison(len(pairs), right, tuple(shown[key] for key in keys), f1, confusion)


def table_as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """A line a row: its number, what was given, the right answer where there is one, the answer, the best score."""
    gold = any("gold" in row for row in rows)
    lines = [["row", *columns, *(["gold"] if gold else []), "answer", "score", "error"]]
    for row in rows:
        scores = [one["score"] for one in row.get("answer", ()) if isinstance(one, dict) and one.get("score")]
        lines.append(
            [
                str(row["row"]),
                *row["inputs"],
                *([row.get("gold", "")] if gold else []),
                row.get("said", ""),
                f"{max(scores):.5f}" if scores else "",
                row.get("error_text", ""),
            ]
        )
    return as_csv(lines)
