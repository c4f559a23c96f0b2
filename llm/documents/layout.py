"""From stretches of text with boxes to blocks in reading order: columns, paragraphs, headings, tables.

Works on what a PDF says of its characters and on what OCR found, alike. Sizes and boxes are in points of the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from llm.documents.document import Block, Box
from llm.documents.ruled import Grid, around, grids
from llm.documents.tables import CJK, table_blocks

_ENDS = ("。", "！", "？", ".", "!", "?", ":", "：", "；", ";", "”", "」")
_ITEM = re.compile(
    r"([•●○■□◆▪·–—*-]\s|\(?[\da-zA-Z]{1,3}[.、)）]\s?\D|[（(][一二三四五六七八九十\d]{1,3}[)）]"
    r"|[一二三四五六七八九十]{1,3}、|第.{1,6}条)"
)
_LEVELS = ((1.7, 1), (1.35, 2), (1.12, 3))
"""How many times as large as running text a heading is, and its level."""
_FIGURE = re.compile(r"[-+(¥$€￥]?\d[\d,.]*%?\)?$")
_BROKEN_WORD = re.compile(r"[a-z]-$")
_MOST_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """Text that stands side by side without a wide gap. size: of the font, or the height of the line."""

    text: str
    box: Box
    size: float
    bold: bool = False

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands beside each other."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return "  ".join(segment.text for segment in self.segments)

    @property
    def box(self) -> Box:
        return around(segment.box for segment in self.segments)

    @property
    def size(self) -> float:
        return max(segment.size for segment in self.segments)

    @property
    def bold(self) -> bool:
        return all(segment.bold for segment in self.segments)


@dataclass(slots=True)
class Layout:
    """The layout of a document, page after page.

    body: the size of its running text so far; 0 finds no headings. coarse: sizes are those that OCR saw. head, xs: of
    the table with which the last page ended, which the next page may go on with.
    """

    body: float = 0.0
    coarse: bool = False
    head: tuple[str, ...] = ()
    xs: tuple[float, ...] = ()

    def blocks(self, segments: Sequence[Segment], rules: Sequence[Box] = ()) -> Iterator[Block]:
        """The blocks of a page in reading order. rules: thin boxes of the lines that are drawn on it."""
        rest = list(segments)
        tables: dict[Box, tuple[Grid, list[Segment]]] = {}
        for grid in grids(rules):
            inside = [segment for segment in rest if grid.cell(segment.box) is not None]
            if inside:
                tables[grid.box] = grid, inside
                rest = [segment for segment in rest if grid.cell(segment.box) is None]
        placed = [*rest, *(Segment("", box, 0.1) for box in tables)]
        first = True
        for column in _columns(placed):
            held: list[Segment] = []
            for segment in sorted(column, key=lambda segment: segment.box[1]):
                if segment.text:
                    held.append(segment)
                    continue
                yield from self._text(held)
                yield from self._ruled(*tables[segment.box], goes_on=first and not held)
                first, held = False, []
            if held:
                yield from self._text(held)
                first, self.head, self.xs = False, (), ()

    def _text(self, segments: Sequence[Segment]) -> Iterator[Block]:
        lines = _lines(segments)
        at = 0
        while at < len(lines):
            end = _table_end(lines, at)
            if end > at:
                yield from _table(lines[at:end])
            else:
                end = at + 1
                while end < len(lines) and _table_end(lines, end) == end:
                    end += 1
                yield from _paragraphs(lines[at:end], self.body, self.coarse)
            at = end

    def _ruled(self, grid: Grid, segments: Sequence[Segment], goes_on: bool) -> Iterator[Block]:
        cells: dict[tuple[int, int], list[Segment]] = {}
        for segment in segments:
            if (cell := grid.cell(segment.box)) is not None:
                cells.setdefault(cell, []).append(segment)
        texts = {cell: joined(line.text for line in _lines(inside)) for cell, inside in cells.items()}
        rows = grid.rows(texts)
        boxes: list[Box | None] = [(grid.xs[0], top, grid.xs[-1], bottom) for top, bottom in pairwise(grid.ys)]
        head = self.head if goes_on and len(grid.xs) == len(self.xs) and _same(grid.xs, self.xs) else ()
        if head and tuple(rows[0]) != head:
            rows, boxes = [list(head), *rows], [None, *boxes]
        self.head, self.xs = tuple(rows[0]), grid.xs
        yield from table_blocks(rows, boxes)


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) < 4 for a, b in zip(one, other, strict=True))


def joined(lines: Iterable[str]) -> str:
    """Lines as running text: no blank between Chinese characters, divided words put together."""
    text = ""
    for line in filter(None, (line.strip() for line in lines)):
        if not text:
            text = line
        elif _BROKEN_WORD.search(text) and line[0].islower():
            text = text[:-1] + line
        elif re.search(rf"[{CJK}]$", text) and re.match(rf"[{CJK}]", line):
            text += line
        else:
            text += " " + line
    return text


def _columns(segments: list[Segment], depth: int = 1) -> Iterator[list[Segment]]:
    """The areas of a page in the order in which they are read."""
    bands = _bands(segments)
    at = 0
    while at < len(bands):
        gutter, end = (_gutter(bands[at]) if depth < _MOST_COLUMNS else None), at + 1
        if gutter is None:
            while end < len(bands) and (depth == _MOST_COLUMNS or _gutter(bands[end]) is None):
                end += 1
            yield [segment for band in bands[at:end] for segment in band]
        else:
            while end < len(bands) and not any(s.box[0] < gutter < s.box[2] for s in bands[end]):
                end += 1
            while end > at + 1 and _gutter(bands[end - 1]) is None:  # a short line at the end is no column
                end -= 1
            both = [segment for band in bands[at:end] for segment in band]
            yield from _columns([s for s in both if s.box[2] <= gutter], depth + 1)
            yield from _columns([s for s in both if s.box[2] > gutter], depth + 1)
        at = end


def _bands(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments in stripes, from top to bottom, with white between them from edge to edge."""
    bands: list[list[Segment]] = []
    bottom = 0.0
    for segment in sorted(segments, key=lambda segment: segment.box[1]):
        if not bands or segment.box[1] > bottom + 0.45 * segment.size:
            bands.append([])
            bottom = 0.0
        bands[-1].append(segment)
        bottom = max(bottom, segment.box[3])
    return bands


def _gutter(segments: Sequence[Segment]) -> float | None:
    """Where two columns of running text part, from left to right; None where there are none.

    A table's columns are no such: their cells do not fill them.
    """
    if len(segments) < 4:
        return None
    size = median(segment.size for segment in segments)
    ends = sorted(segments, key=lambda segment: segment.box[2])
    for segment in ends:
        right = segment.box[2]
        other = [s for s in segments if s.box[0] > right]
        one = [s for s in segments if s.box[2] <= right]
        if len(one) + len(other) == len(segments) and other:
            white = min(s.box[0] for s in other) - right
            fits = len(one) > 1 and len(other) > 1 and white >= 0.6 * size
            if fits and _fills(one, size) and (_fills(other, size) or _gutter(other) is not None):
                return right + white / 2
    return None


def _fills(side: Sequence[Segment], size: float) -> bool:
    """Whether most lines of a column are about as wide as the column, and as wide as some words."""
    left, _, right, _ = around(segment.box for segment in side)
    wide = [s for s in side if s.width > 0.7 * (right - left)]
    return len(wide) >= 0.5 * len(side) and right - left > 8 * size


def _middle(box: Box) -> float:
    return (box[1] + box[3]) / 2


def _lines(segments: Iterable[Segment]) -> list[_Line]:
    """Segments that overlap by half of their height stand in one line."""
    rows: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda segment: _middle(segment.box)):
        last = rows[-1][-1].box if rows else None
        box = segment.box
        if last and min(last[3], box[3]) - max(last[1], box[1]) > 0.5 * min(last[3] - last[1], box[3] - box[1]):
            rows[-1].append(segment)
        else:
            rows.append([segment])
    return [_Line(tuple(sorted(row, key=lambda segment: segment.box[0]))) for row in rows]


def _paragraphs(lines: Sequence[_Line], body: float, coarse: bool) -> Iterator[Block]:
    gaps = [b.box[1] - a.box[3] for a, b in pairwise(lines)]
    usual = median(gaps) if gaps else 0.0
    right = max(line.box[2] for line in lines)
    held = [lines[0]]
    for line in lines[1:]:
        if _goes_on(held, line, usual, right, coarse):
            held.append(line)
        else:
            yield _paragraph(held, body, coarse)
            held = [line]
    yield _paragraph(held, body, coarse)


def _goes_on(held: Sequence[_Line], line: _Line, usual: float, right: float, coarse: bool) -> bool:
    """Whether a line belongs to the paragraph of those before it."""
    last, size = held[-1], line.size
    if abs(last.size - size) > (0.35 if coarse else 0.12) * size or last.bold != line.bold or _ITEM.match(line.text):
        return False
    if line.box[1] - last.box[3] > max(usual, 0) + 0.45 * size:
        return False
    if line.box[0] > last.box[0] + 1.2 * size and not _ITEM.match(last.text):
        return False  # the first line of a paragraph is set in
    return not (last.box[2] < right - 3 * size and last.text.endswith(_ENDS))


def _paragraph(lines: Sequence[_Line], body: float, coarse: bool) -> Block:
    text = joined(line.text for line in lines)
    box = around(line.box for line in lines)
    ratio = max(line.size for line in lines) / body if body else 1.0
    if len(lines) <= 3 and len(text) <= 120 and not text.endswith(("。", "；", "，", ",")):
        level = next((level for least, level in _LEVELS[: 2 if coarse else 3] if ratio >= least), 0)
        if not level and len(lines) == 1 and lines[0].bold and len(text) <= 60 and re.search(r"\w{2}", text):
            level = 4
        if level:
            return Block(text, "heading", level, box)
    return Block(text, box=box)


def _table_end(lines: Sequence[_Line], begin: int) -> int:
    """Behind the last line of the table that begins here; `begin` if none does. A table has at least three rows."""
    starts = [segment.box[0] for segment in lines[begin].segments]
    if len(starts) < 2:
        return begin
    size, end, rows = lines[begin].size, begin, 0
    while end < len(lines):
        line = lines[end]
        if end > begin and line.box[1] - lines[end - 1].box[3] > 2.5 * size:
            break
        aligned = sum(_aligned(segment, lines[begin], size) for segment in line.segments)
        if len(line.segments) >= 2 and aligned >= max(2, len(line.segments) - 1):
            rows += 1
        elif not (len(line.segments) < len(starts) and aligned == len(line.segments) and _close(lines, end)):
            break
        end += 1
    return end if rows >= 3 else begin


def _aligned(segment: Segment, head: _Line, size: float) -> bool:
    """Whether a cell stands under one of the head's: by its left edge, its right edge or its middle."""
    left, _, right, _ = segment.box
    return any(
        abs(left - other.box[0]) < size
        or abs(right - other.box[2]) < size
        or abs(left + right - other.box[0] - other.box[2]) < 2 * size
        for other in head.segments
    )


def _close(lines: Sequence[_Line], at: int) -> bool:
    """Whether a line stands so near to the one before that it is the rest of its cells."""
    return at > 0 and lines[at].box[1] - lines[at - 1].box[3] < 0.4 * lines[at].size


def _table(lines: Sequence[_Line]) -> Iterator[Block]:
    """Rows without lines between them. The first is the head where it is bold, or the only one without figures."""
    head = max(lines, key=lambda line: len(line.segments))
    spans = _spans(lines, len(head.segments))
    rows: list[list[str]] = []
    boxes: list[Box] = []
    for at, line in enumerate(lines):
        cells = [""] * len(spans)
        for segment in line.segments:
            place = min(range(len(spans)), key=lambda n: _distance(spans[n], segment.box))
            cells[place] = joined([cells[place], segment.text])
        if rows and len(line.segments) < len(spans) and _close(lines, at):
            rows[-1] = [joined(pair) for pair in zip(rows[-1], cells, strict=True)]
            boxes[-1] = around([boxes[-1], line.box])
        else:
            rows.append(cells)
            boxes.append(line.box)
    bold = lines[0].bold and not all(line.bold for line in lines)
    figures = sum(any(map(_FIGURE.match, row)) for row in rows[1:])
    yield from table_blocks(rows, boxes, bold or (not any(map(_FIGURE.match, rows[0])) and figures > len(rows) // 2))


def _spans(lines: Sequence[_Line], count: int) -> list[tuple[float, float]]:
    """From where to where each column goes: the cells of the lines that have all of them."""
    whole = [line.segments for line in lines if len(line.segments) == count]
    return [(min(row[at].box[0] for row in whole), max(row[at].box[2] for row in whole)) for at in range(count)]


def _distance(span: tuple[float, float], box: Box) -> float:
    """How far a cell lies from a column; less than nothing where they overlap."""
    return max(span[0], box[0]) - min(span[1], box[2])
