"""The file that is being read: what readers may ask of it, and what they report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.documents.document import Note
from llm.documents.encodings import decoded


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a document may be and take.

    file_bytes: as it lies on the disk. inflated_bytes, ratio, entries: of packed documents, counted while unpacking.
    pages, characters: what is read before the rest is left out, which is said. ocr_pages: how many pages are read
    from their pictures. memory_bytes, wall_s: of the program that reads.
    """

    file_bytes: int = 512 << 20
    inflated_bytes: int = 300 << 20
    ratio: int = 200
    entries: int = 10_000
    pages: int = 5_000
    characters: int = 50_000_000
    ocr_pages: int = 300
    memory_bytes: int = 1 << 30
    wall_s: float = 3_600.0


@dataclass(slots=True)
class Source:
    """A document's file while it is read. encoding: asked for, and afterwards the one that was found."""

    path: Path
    name: str
    limits: Limits = field(default_factory=Limits)
    encoding: str = ""
    cancel: Cancel = field(default_factory=Cancel)
    notes: list[Note] = field(default_factory=list)

    def note(self, code: str, **values: Any) -> None:
        self.notes.append((code, values))

    def text(self) -> str:
        """The whole of a text file, with line ends as `\\n`. Raises WrongEncoding."""
        text, self.encoding = decoded(self.path.read_bytes(), self.name, self.encoding)
        return text.replace("\r\n", "\n").replace("\r", "\n")
