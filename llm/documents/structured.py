"""JSON: records as rows, notebooks cell by cell, and what Hearth itself exports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llm.documents.document import Block, Page
from llm.documents.errors import DamagedDocument
from llm.documents.plain import LINES, markdown_blocks, paged
from llm.documents.source import Source
from llm.documents.times import timed_pages

_DEPTH = 12
_WORDS = 400
"""Values with more characters are paragraphs of their own."""


def read(source: Source) -> Iterator[Page]:
    """JSON and JSON Lines. Raises DamagedDocument."""
    text = source.text()
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise DamagedDocument(name=source.name, kind="JSON", detail="nested too deeply") from error
    except ValueError as error:
        value = _lines(text)
        if value is None:
            raise DamagedDocument(name=source.name, kind="JSON", detail=str(error)) from error
    if isinstance(value, dict) and value.get("format") == "hearth-conversations":
        yield from _conversations(value)
    elif isinstance(value, dict) and _is_transcript(value):
        yield from timed_pages((s["start"], s["end"], s["text"]) for s in value["segments"])
    elif isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
        yield from paged(enumerate(_notebook(value["cells"]), start=1))
    else:
        blocks = _values(value, 1)
        for page in paged(enumerate(blocks, start=1)):
            yield Page(page.number, page.label if isinstance(value, list) and len(value) > LINES else "", page.blocks)


def _lines(text: str) -> list[Any] | None:
    """One value a line; None if they are not."""
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return None


def _is_transcript(value: Mapping[str, Any]) -> bool:
    segments = value.get("segments")
    return (
        isinstance(segments, list)
        and bool(segments)
        and all(
            isinstance(s, dict) and isinstance(s.get("text"), str) and isinstance(s.get("start"), int | float)
            and isinstance(s.get("end"), int | float)
            for s in segments
        )
    )  # fmt: skip


def _conversations(value: Mapping[str, Any]) -> Iterator[Page]:
    """A page for each conversation of an export of Hearth's."""
    for number, conversation in enumerate(value.get("conversations") or [], start=1):
        title = str(conversation.get("title") or number)
        blocks = [Block(title, "heading", 1)]
        for message in conversation.get("messages") or []:
            parts = [part for part in message.get("parts") or [] if isinstance(part, dict)]
            words = "\n".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))
            if words.strip():
                blocks.append(Block(f"{message.get('role', '')}: {words.strip()}"))
        yield Page(number, title[:80], tuple(blocks))


def _notebook(cells: list[Any]) -> Iterator[Block]:
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        text = _joined(cell.get("source"))
        if cell.get("cell_type") == "markdown":
            yield from (block for _, block in markdown_blocks(text))
        elif text.strip():
            yield Block(text, "code")
        for output in cell.get("outputs") or []:
            data = output.get("data") or {} if isinstance(output, dict) else {}
            shown = _joined(output.get("text") or data.get("text/plain")) if isinstance(output, dict) else ""
            if shown.strip():
                yield Block(shown.strip())


def _joined(text: Any) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def _values(value: Any, level: int) -> Iterator[Block]:
    """Records as rows; what they hold below is named by its path."""
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            if isinstance(item, dict) and level < _DEPTH:
                yield from _record(item)
            else:
                yield from _values(item, level + 1) if level < _DEPTH else [Block(json.dumps(item))]
    elif isinstance(value, dict):
        flat = {key: item for key, item in value.items() if not isinstance(item, dict | list)}
        if flat:
            yield from _record(flat)
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield Block(str(key), "heading", min(level, 6))
                yield from _values(item, level + 1) if level < _DEPTH else [Block(json.dumps(item))]
    elif value not in (None, "", []):
        yield Block(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _record(record: Mapping[str, Any]) -> Iterator[Block]:
    pairs = list(_flat(record, "", 0))
    short = [f"{key}: {text}" for key, text in pairs if len(text) <= _WORDS]
    if short:
        yield Block("; ".join(short), "row")
    for key, text in pairs:
        if len(text) > _WORDS:
            yield Block(f"{key}: {text}")


def _flat(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and depth < _DEPTH:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list) and all(not isinstance(item, dict | list) for item in value):
        if value:
            yield path, ", ".join(map(str, value))
    elif isinstance(value, dict | list):
        yield path, json.dumps(value, ensure_ascii=False)
    elif value is not None and value != "":
        yield path, str(value)
