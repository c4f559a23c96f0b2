"""Rows out of people's files: Excel, CSV in any Chinese encoding, JSON and lines of JSON in the layouts that there are.

What a table's columns mean is guessed from their names (question and answer, Q and A, 问题 and 答案, alpaca's);
without known names the first two columns are question and answer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.documents.encodings import decoded
from llm.documents.sheets import csv_rows, workbook_rows
from llm.documents.source import Source
from llm.finetune.data import Row

TYPES = ("xlsx", "csv", "tsv", "jsonl", "json", "txt")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        "prompt",
        "question",
        "q",
        "instruction",
        "content",
        "query",
        "user",
        "问",
        "问题",
        "提问",
        "输入",
        "标题",
    ),
    "response": (
        "response",
        "answer",
        "a",
        "output",
        "summary",
        "completion",
        "assistant",
        "答",
        "答案",
        "回答",
        "输出",
    ),
    "system": ("system", "系统", "系统提示"),
    "more": ("input",),
    "history": ("history",),
    "rejected": ("rejected",),
}
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A line or row that is none, by its number in the file. code: empty, unreadable, no_answer."""

    number: int
    code: str


def read_file(name: str, data: bytes) -> tuple[list[Row], list[Problem]]:
    """Rows of a file, and what of it could not be one.

    Raises:
        ModelError: the file as a whole cannot be read; the sentence says why.
    """
    ending = Path(name).suffix.lower()
    if ending in (".xlsx", ".csv", ".tsv"):
        with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
            path = Path(folder) / f"table{ending}"
            path.write_bytes(data)
            source = Source(path, name)
            if ending == ".xlsx":
                sheets = [list(rows) for _, rows in workbook_rows(source)]
                return _table(next((rows for rows in sheets if rows), []))
            return _table(list(csv_rows(source)))
    text, _ = decoded(data, name)
    if ending == ".txt":
        return [Row(text=part.strip()) for part in text.split("\n\n") if part.strip()], []
    return _json(text)


def _table(rows: Sequence[tuple[int, list[str]]]) -> tuple[list[Row], list[Problem]]:
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows if any(c.strip() for c in cells)]
    if not rows:
        return [], []
    roles = {role: place for place, cell in enumerate(rows[0][1]) if (role := _role(cell))}
    if "response" in roles:
        rows = rows[1:]
    else:
        roles = {"prompt": 0, "response": 1}
    found: list[Row] = []
    problems: list[Problem] = []
    for number, cells in rows:
        values = {role: cells[place] for role, place in roles.items() if place < len(cells)}
        _take(values, number, found, problems)
    return found, problems


def _json(text: str) -> tuple[list[Row], list[Problem]]:
    items: Iterable[tuple[int, Any]]
    problems: list[Problem] = []
    try:
        whole = json.loads(text)
        items = enumerate(whole if isinstance(whole, list) else [whole], start=1)
    except ValueError:
        lines: list[tuple[int, Any]] = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    lines.append((number, json.loads(line)))
                except ValueError:
                    problems.append(Problem(number, "unreadable"))
        items = lines
    found: list[Row] = []
    for number, item in items:
        if not isinstance(item, dict):
            problems.append(Problem(number, "unreadable"))
            continue
        try:
            _object(item, number, found, problems)
        except (ValueError, TypeError, AttributeError, KeyError):
            problems.append(Problem(number, "unreadable"))
    return found, problems


def _object(item: Mapping[str, Any], number: int, found: list[Row], problems: list[Problem]) -> None:
    """One JSON object: messages, sharegpt's conversations, a text, or named values."""
    said = item.get("messages") or item.get("conversations")
    if said:
        messages = [
            {"role": _SPEAKERS[str(m.get("role") or m.get("from"))], "content": str(m.get("content") or m.get("value"))}
            for m in said
        ]
        if item.get("system"):
            messages.insert(0, {"role": "system", "content": str(item["system"])})
        row = Row.from_dict({"messages": messages, "rejected": item.get("rejected", "")}, number)
        if row.messages[-1].role == "assistant" and row.response.strip():
            found.append(row)
        else:
            problems.append(Problem(number, "no_answer"))
    elif set(item) == {"text"}:
        found.append(Row(text=str(item["text"]), number=number))
    else:
        values = {role: value for name, value in item.items() if (role := _role(name)) and value is not None}
        _take(values, number, found, problems)


def _take(values: Mapping[str, Any], number: int, found: list[Row], problems: list[Problem]) -> None:
    prompt, response = str(values.get("prompt", "")).strip(), str(values.get("response", "")).strip()
    if more := str(values.get("more", "")).strip():
        prompt = f"{prompt}\n{more}".strip()
    if not prompt and not response:
        problems.append(Problem(number, "empty"))
    elif not prompt or not response:
        problems.append(Problem(number, "no_answer"))
    else:
        given = values.get("history") or ()
        history = [(str(q), str(a)) for q, a in (given if not isinstance(given, str) else json.loads(given))]
        found.append(Row.of(prompt, response, str(values.get("system", "")), history))


def _role(name: str) -> str:
    plain = name.strip().casefold()
    return next((role for role, names in _NAMES.items() if plain in names), "")
