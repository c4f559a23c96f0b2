"""Rows out of people's files: Excel of any age, CSV in any Chinese encoding, JSON and its lines in all layouts.

What a table's columns mean is guessed from their names (question and answer, Q and A, 问题 and 答案, alpaca's);
without known names the first two columns are question and answer.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm.documents.encodings import decoded
from llm.documents.errors import DamagedDocument, EmptyDocument, EncryptedDocument
from llm.documents.sheets import csv_rows, workbook_rows
from llm.documents.source import Source
from llm.finetune.data import Row

TYPES = ("xlsx", "xls", "ods", "csv", "tsv", "jsonl", "json", "txt")
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
        "指令",
        "标准问",
        "标准问题",
    ),
    "response": (
        "response",
        "answer",
        "a",
        "output",
        "summary",
        "completion",
        "assistant",
        "chosen",
        "reply",
        "答",
        "答案",
        "回答",
        "输出",
        "回复",
        "标准答案",
        "参考答案",
    ),
    "system": ("system", "系统", "系统提示"),
    "more": ("input",),
    "history": ("history",),
    "rejected": ("rejected",),
}
_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_TABLES = (".xlsx", ".xls", ".ods", ".csv", ".tsv")


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
    if not data.strip():
        raise EmptyDocument(name=name)
    if ending in _TABLES:
        return _table(_table_rows(name, ending, data))
    if data.startswith((_ZIP, _OLE)):
        raise DamagedDocument(
            name=name, kind=ending.removeprefix(".").upper() or "text", detail="it is another program's"
        )
    text, _ = decoded(data, name)
    if ending == ".txt":
        return [Row(text=part.strip()) for part in text.split("\n\n") if part.strip()], []
    return _json(text)


def _table_rows(name: str, ending: str, data: bytes) -> list[tuple[int, list[str]]]:
    """The rows of a table's first sheet that has any. What a file is, its first bytes say: many an .xls is text.

    Raises:
        DocumentUnreadable: it is damaged, protected, or no table.
    """
    if ending == ".ods" or data.startswith(_OLE):
        return _by_calamine(name, ending, data)
    if data.lstrip()[:1] == b"<":
        raise DamagedDocument(name=name, kind=ending.removeprefix(".").upper(), detail="it is a web page")
    zipped = data.startswith(_ZIP)
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        path = Path(folder) / f"table{'.xlsx' if zipped else '.csv'}"
        path.write_bytes(data)
        source = Source(path, name)
        if not zipped:
            return list(csv_rows(source))
        sheets = [list(rows) for _, rows in workbook_rows(source)]
        return next((rows for rows in sheets if rows), [])


def _by_calamine(name: str, ending: str, data: bytes) -> list[tuple[int, list[str]]]:
    """Excel before 2007 and OpenDocument."""
    import python_calamine as calamine

    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = [book.get_sheet_by_name(sheet).to_python(skip_empty_area=False) for sheet in book.sheet_names]
    except calamine.PasswordError as error:
        raise EncryptedDocument(name=name) from error
    except Exception as error:  # a new Excel with a password is a container of the old kind that holds no workbook
        if data.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in data:
            raise EncryptedDocument(name=name) from error
        raise DamagedDocument(name=name, kind=ending.removeprefix(".").upper(), detail="no sheet was found") from error
    rows = next((sheet for sheet in sheets if sheet), [])
    return [(number, [_words(cell) for cell in cells]) for number, cells in enumerate(rows, start=1)]


def _words(cell: Any) -> str:
    """A cell as people see it: whole numbers without a point, dates without midnight."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).removesuffix(" 00:00:00")


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
        lists = [v for v in whole.values() if isinstance(v, list)] if isinstance(whole, dict) else []
        if len(lists) == 1 and len(whole) <= 3 and not _is_row(whole):  # {"data": [...]}
            whole = lists[0]
        items = enumerate(whole if isinstance(whole, list) else [whole], start=1)
    except (ValueError, RecursionError):
        lines: list[tuple[int, Any]] = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    lines.append((number, json.loads(line)))
                except (ValueError, RecursionError):
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
    rejected = item.get("rejected", "")
    if "preferred_output" in item:  # OpenAI's pairs
        said = [*item["input"]["messages"], *item["preferred_output"][-1:]]
        rejected = item["non_preferred_output"][-1]
    elif said and item.get("chosen"):
        said = [*said, item["chosen"]]
    if said:
        messages = [_message(one) for one in said]
        if item.get("system"):
            messages.insert(0, {"role": "system", "content": str(item["system"])})
        row = Row.from_dict({"messages": messages, "rejected": _message(rejected)["content"]}, number)
        if row.messages[-1].role == "assistant" and row.response.strip():
            found.append(row)
        else:
            problems.append(Problem(number, "no_answer"))
    elif set(item) == {"text"}:
        found.append(Row(text=str(item["text"]), number=number))
    else:
        values = {role: value for name, value in item.items() if (role := _role(name)) and value is not None}
        _take(values, number, found, problems)


def _is_row(item: Mapping[str, Any]) -> bool:
    return any(name in item for name in ("messages", "conversations", "text", "preferred_output")) or (
        "response" in map(_role, item)
    )


def _message(one: Any) -> dict[str, str]:
    """Somebody's words by OpenAI's names or sharegpt's; plain words are an answer.

    Raises:
        KeyError: nobody knows the speaker.
        ValueError: the message is not to be trained, which a row here cannot say.
    """
    if not isinstance(one, dict):
        return {"role": "assistant", "content": str(one)}
    if one.get("weight", 1) not in (1, None):
        raise ValueError("weight")
    content = one.get("content") if "content" in one else one.get("value")
    if isinstance(content, list):
        content = "".join(str(part["text"]) for part in content)
    return {"role": _SPEAKERS[str(one.get("role") or one.get("from"))], "content": str(content or "")}


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
        row = Row.of(prompt, response, str(values.get("system", "")), history)
        found.append(replace(row, rejected=str(values.get("rejected", "")).strip()))


def _role(name: str) -> str:
    plain = name.strip().casefold()
    return next((role for role, names in _NAMES.items() if plain in names), "")
