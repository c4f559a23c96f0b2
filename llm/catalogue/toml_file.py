"""Model entries as TOML: reads `models.toml` and the user's own file, and writes the latter."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ModelEntry, Shape, Source, task_of
from llm.files import write_whole


def read_entries(path: Path, own: bool = False) -> list[ModelEntry]:
    """The entries of a file; none when there is no file.

    Raises:
        ValueError: it is not TOML, or an entry has unknown or missing fields; the message names file and entry.
    """
    if not path.is_file():
        return []
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    return [_entry(table, path, own) for table in tables]


def readable_entries(path: Path) -> tuple[list[ModelEntry], list[str]]:
    """The entries of a person's own file, and what is wrong with those that cannot be read.

    One slip of the pen must not take all the others away: where the file as a whole is no TOML, its `[[model]]` tables
    are read one by one.
    """
    if not path.is_file():
        return [], []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        tables: list[Any] = tomllib.loads(text).get("model", [])
        problems: list[str] = []
    except tomllib.TOMLDecodeError:
        tables, problems = [], []
        for block in re.split(r"(?m)^(?=[ \t]*\[\[model\]\])", text):
            try:
                tables += tomllib.loads(block).get("model", [])
            except tomllib.TOMLDecodeError as error:
                problems.append(f"{path} is not valid TOML: {error}")
    found = []
    for table in tables:
        try:
            found.append(_entry(table, path, True))
        except ValueError as error:
            problems.append(str(error))
    return found, problems


def write_entries(path: Path, entries: Sequence[ModelEntry]) -> None:
    """Replaces the file in one step, so that a reader never sees half of it."""
    write_whole(path, "\n".join(_text(entry) for entry in entries))


def _entry(table: Mapping[str, Any], path: Path, own: bool) -> ModelEntry:
    try:
        values = dict(table)
        values["task"] = task_of(values["task"])
        values["sources"] = tuple(_source(source) for source in values.pop("source", ()))
        values["shape"] = Shape(**values.pop("shape", {}))
        values["languages"] = tuple(values.get("languages", ()))
        values["abilities"] = frozenset(values.get("abilities", ("text",)))
        if "path" in values:
            values["path"] = Path(values["path"])
        if values["task"] is None:
            raise TypeError(f"unknown task {table['task']!r}")
        return ModelEntry(**values, own=own)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: entry {table.get('id', '(no id)')!r} cannot be read: {error}") from error


def _source(table: Mapping[str, Any]) -> Source:
    values = dict(table)
    for name in ("files", "packages", "package_bytes"):
        values[name] = tuple(values.get(name, ()))
    values["members"] = {name: tuple(parts) for name, parts in values.get("members", {}).items()}
    return Source(**values)


def _text(entry: ModelEntry) -> str:
    lines = ["[[model]]", *_lines(entry, skip=("sources", "shape", "own"))]
    if entry.shape != Shape():
        lines.append(f"shape = {_value({f.name: getattr(entry.shape, f.name) for f in fields(Shape)})}")
    for source in entry.sources:
        lines += ["", "[[model.source]]", *_lines(source)]
    return "\n".join(lines) + "\n"


def _lines(record: ModelEntry | Source, skip: Sequence[str] = ()) -> list[str]:
    """`name = value` for each field that differs from its default."""
    lines = []
    for f in fields(record):
        value = getattr(record, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if f.name not in skip and value is not None and value != default:
            lines.append(f"{f.name} = {_value(value)}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (str, Path)):
        # JSON's escapes are TOML's, except that TOML also wants DEL escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    items = sorted(value) if isinstance(value, frozenset) else value
    return "[" + ", ".join(_value(item) for item in items) + "]"
