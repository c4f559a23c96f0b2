"""What a document is once it has been read: pages of blocks, whatever kind of file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in points of the page, from its upper left corner; pictures: in pixels."""
BlockKind: TypeAlias = Literal["text", "heading", "table", "row", "code", "caption", "note"]
Note: TypeAlias = tuple[str, dict[str, Any]]
"""Something to say about the reading: the code of a sentence (`documents.note_<code>`) and its values."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, heading, row or listing.

    kind: `table` opens a table and is its head; the `row`s behind it are one row each, as "column: value; …". A
    `caption` belongs to the table or picture behind it, a `note` to the page (speaker's notes, footnotes).
    level: of a heading, 1 is the highest; 0 for everything else. box: where it stands, if the file says so.
    """

    text: str
    kind: BlockKind = "text"
    level: int = 0
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, slide, sheet, chapter, stretch of lines or stretch of time.

    number: counted from 1. label: what people call it: a printed page number, a sheet's name, lines "1–200", a time
    "0:03:10". start_s, end_s: of a recording or of subtitles. ocr: read from the page's picture. size: (width,
    height) in the unit of the boxes.
    """

    number: int
    label: str
    blocks: tuple[Block, ...]
    start_s: float | None = None
    end_s: float | None = None
    ocr: bool = False
    size: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        return "\n".join(block.text for block in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @staticmethod
    def of(values: Mapping[str, Any]) -> Page:
        """The page of `to_dict`'s values, also after a walk through JSON."""
        blocks = tuple(
            Block(block["text"], block["kind"], block["level"], tuple(block["box"]) if block["box"] else None)
            for block in values["blocks"]
        )
        size = tuple(values["size"]) if values["size"] else None
        return Page(**{**values, "blocks": blocks, "size": size})


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document. kind: see `llm.documents.kinds`. encoding: of a text file, empty for the others."""

    name: str
    kind: str
    pages: tuple[Page, ...]
    encoding: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(page.text for page in self.pages)
