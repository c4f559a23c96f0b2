"""A document's pieces for searching: passages of about one size that know where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from llm.documents.document import BlockKind, Box, Document

Count = Callable[[str], int]
"""How many tokens a text has for the embedder."""
_SENTENCE = re.compile(r"(?<=[。！？!?；;…])[”’」』）)\"']*\s*|(?<=\.)[)\"'”’]*\s+|\n+")
_CLAUSE = re.compile(r"(?<=[，、,：:])\s*|\s+")
_CONTEXT_SHARE = 3
"""What stands in front of a chunk may take one part in so many of its size."""
_LEAD_IN_CHARACTERS = 80
"""A paragraph before a table that is no longer than this tells what the table holds: "unit: 10,000 yuan"."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage.

    context: heading path, table head and caption; goes in front of the text for embedding, and is shown. page, label,
    start_s: of the page on which it begins. boxes: (page number, box) of the blocks it is made of. kind: of its first
    block. position: counted from 0 in the document. tokens: of context and text.
    """

    text: str
    context: str
    page: int
    label: str
    start_s: float | None
    headings: tuple[str, ...]
    boxes: tuple[tuple[int, Box], ...]
    kind: BlockKind
    position: int
    tokens: int

    @property
    def with_context(self) -> str:
        return f"{self.context}\n{self.text}" if self.context else self.text


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is never divided again: a sentence, a row, a part of a sentence that is too long."""

    text: str
    tokens: int
    page: int
    label: str
    start_s: float | None
    headings: tuple[str, ...]
    table: str
    box: Box | None
    kind: BlockKind


def chunks(document: Document, count: Count, size: int = 400, overlap: int = 40) -> list[Chunk]:
    """Cuts a document at sentences, rows and headings.

    Args:
        count: tokens of a text for the embedder.
        size: the most tokens of a chunk, its context included.
        overlap: the most tokens that a chunk repeats of the one before, within a section; rows are not repeated.
    """
    packing = _Packing(count, size, overlap)
    for piece in _pieces(document, count, size):
        packing.add(piece)
    packing.close()
    return packing.chunks


@dataclass(slots=True)
class _Packing:
    """Fills one chunk after the other."""

    count: Count
    size: int
    overlap: int
    chunks: list[Chunk] = field(default_factory=list)
    held: list[_Piece] = field(default_factory=list)
    context: str = ""
    used: int = 0
    """Tokens of the context and of what is held."""

    def add(self, piece: _Piece) -> None:
        if self.held and (self._apart(piece) or self.used + piece.tokens > self.size):
            repeated = [] if self._apart(piece) else self._tail(piece)
            self.close()
            for again in repeated:
                self._take(again)
        self._take(piece)

    def close(self) -> None:
        """Ends the chunk at hand."""
        if self.held:
            first = self.held[0]
            text = "".join(piece.text for piece in self.held).strip()
            places = ((piece.page, piece.box) for piece in self.held)
            boxes = tuple(dict.fromkeys((page, box) for page, box in places if box is not None))
            self.chunks.append(
                Chunk(
                    text, self.context, first.page, first.label, first.start_s, first.headings, boxes, first.kind,
                    len(self.chunks), self.used,
                )
            )  # fmt: skip
        self.held, self.used = [], 0

    def _take(self, piece: _Piece) -> None:
        if not self.held:
            self.context = _context(piece, self.count, self.size // _CONTEXT_SHARE)
            self.used = self.count(self.context) if self.context else 0
        self.held.append(piece)
        self.used += piece.tokens

    def _apart(self, piece: _Piece) -> bool:
        """Whether a piece must begin a chunk: another table, or another section unless the one at hand is short."""
        last = self.held[-1]
        if piece.table != last.table:
            return True
        return piece.headings != last.headings and self.used > self.size // 4 and last.kind != "heading"

    def _tail(self, piece: _Piece) -> list[_Piece]:
        """The last sentences of the chunk at hand that the next one repeats."""
        room = min(self.overlap, self.size // 2 - piece.tokens)
        at = len(self.held)
        while at > 1 and 0 < room >= self.held[at - 1].tokens and self.held[at - 1].kind == "text":
            at -= 1
            room -= self.held[at].tokens
        return self.held[at:]


def _pieces(document: Document, count: Count, size: int) -> Iterator[_Piece]:
    headings: list[tuple[int, str]] = []
    table, before = "", ""
    for page in document.pages:
        for block in page.blocks:
            above = tuple(text for _, text in headings)
            if block.kind == "heading":
                headings = [(level, text) for level, text in headings if level < block.level]
                above = tuple(text for _, text in headings)
                headings.append((block.level, block.text))
            if block.kind == "table":
                table = "\n".join(filter(None, [before, block.text]))
            elif block.kind != "row":
                table = ""
                before = block.text if len(block.text) <= _LEAD_IN_CHARACTERS and block.kind != "heading" else ""
            if block.kind == "table":
                continue
            room = size - size // _CONTEXT_SHARE
            for text in _divided(block.text, count, room):
                yield _Piece(
                    text, count(text), page.number, page.label, page.start_s, above, table, block.box, block.kind
                )


def _divided(text: str, count: Count, room: int) -> Iterator[str]:
    """The sentences of a block, each with what stands between it and the next; the last one ends its line."""
    if count(text) <= room // 4:  # a short paragraph stays whole
        yield text + "\n"
        return
    parts = list(_within(_cut(text, _SENTENCE), count, room))
    yield from parts[:-1]
    yield parts[-1] + "\n"


def _within(parts: Sequence[str], count: Count, room: int) -> Iterator[str]:
    """Parts of at most `room` tokens: what is longer is cut at clauses, then at characters."""
    for part in parts:
        if count(part) <= room:
            yield part
        elif len(clauses := _cut(part, _CLAUSE)) > 1:
            yield from _joined(clauses, count, room)
        else:
            half = len(part) // 2
            yield from _within([part[:half], part[half:]], count, room) if half else [part]


def _joined(clauses: Sequence[str], count: Count, room: int) -> Iterator[str]:
    held, used = "", 0
    for clause in _within(clauses, count, room):
        tokens = count(clause)
        if held and used + tokens > room:
            yield held
            held, used = "", 0
        held, used = held + clause, used + tokens
    if held:
        yield held


def _cut(text: str, ends: re.Pattern[str]) -> list[str]:
    """Text cut behind each match; joined again it is the same text."""
    places = [0, *(match.end() for match in ends.finditer(text)), len(text)]
    return [text[begin:end] for begin, end in pairwise(places) if end > begin]


def _context(piece: _Piece, count: Count, room: int) -> str:
    """Heading path and table head, shortened from the front to what there is room for."""
    lines = [" › ".join(piece.headings), piece.table]
    context = "\n".join(filter(None, lines))
    while context and count(context) > room:
        context = context[len(context) // 4 + 1 :]
    return context
