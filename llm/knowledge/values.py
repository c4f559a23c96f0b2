"""What a library gives out: plain frozen values, and how they are made of rows."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llm.documents.document import Box, Note

DEFAULT_SIZE = 300
"""Tokens of a passage; what fits into an embedder of 512 with room for its context."""
State: TypeAlias = Literal["queued", "reading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Base:
    """embedder: the id of the model that compares meaning, empty for words only. indexed_by: the one whose vectors are
    whole, which goes on answering until the new one's are. size: tokens of a passage."""

    id: str
    name: str
    owner: str
    shared: bool
    embedder: str
    indexed_by: str
    size: int
    version: int
    created_at: float


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """error_*: why it cannot be read, for the locale files. notes: see `llm.documents.document.Note`."""

    id: str
    base_id: str
    name: str
    sha256: str
    size_bytes: int
    state: State
    kind: str
    encoding: str
    error_code: str
    error_values: dict[str, Any]
    notes: tuple[Note, ...]
    path: str
    pages: int = 0
    passages: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document.

    kind: the document's. label: what people call its page. boxes: (page, box) of the blocks that it is made of.
    """

    id: int
    document_id: str
    document: str
    kind: str
    position: int
    text: str
    context: str
    page: int
    label: str
    start_s: float | None
    boxes: tuple[tuple[int, Box], ...]
    tokens: int
    hash: str

    @property
    def with_context(self) -> str:
        return f"{self.context}\n{self.text}" if self.context else self.text


def base_of(row: sqlite3.Row) -> Base:
    return Base(**{**dict(row), "shared": bool(row["shared"])})


def document_of(row: sqlite3.Row) -> KnownDocument:
    values = dict(row)
    del values["created_at"]
    notes = tuple((code, said) for code, said in json.loads(values["notes"]))
    return KnownDocument(**{**values, "error_values": json.loads(values["error_values"]), "notes": notes})


def passage_of(row: sqlite3.Row) -> Passage:
    values = {name: row[name] for name in row.keys() if name != "base_id"}  # noqa: SIM118
    return Passage(**{**values, "boxes": tuple((page, tuple(box)) for page, box in json.loads(row["boxes"]))})
