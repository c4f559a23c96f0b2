"""XLSX and CSV: a row is the smallest unit, its cells named by their column."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, pairwise, zip_longest
from xml.etree.ElementTree import Element

from llm.documents.archive import Archive, local
from llm.documents.document import Block, Page
from llm.documents.errors import DamagedDocument
from llm.documents.source import Source
from llm.documents.tables import one_line, row_text

_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_SAMPLE = 1 << 14
_ROWS = 200
"""Rows a page."""
_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
"""Built-in number formats that are dates or times."""
_TIMES = {18, 19, 20, 21, 45, 46, 47}
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]hms]*\]|_.|\*.')
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]+)(\d+):([A-Z]+)(\d+)"')
_MOST_COLUMNS = 500
_MOST_MERGED = 200_000
Row = tuple[int, list[str]]
"""Number as people see it, and the texts of the cells."""


def csv_file(source: Source) -> Iterator[Page]:
    """Values divided by commas, semicolons, tabs or bars."""
    yield from _pages("", 0, csv_rows(source))


def csv_rows(source: Source) -> Iterator[Row]:
    """The rows of a file of divided values, as they are.

    Raises:
        DamagedDocument, WrongEncoding.
    """
    text = source.text()
    best = max(",\t;|", key=lambda mark: _columns_by(text[:_SAMPLE], mark))
    csv.field_size_limit(1 << 24)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=best)
    try:
        yield from enumerate(rows, start=1)
    except csv.Error as error:
        raise DamagedDocument(name=source.name, kind="CSV", detail=str(error)) from error


def _columns_by(sample: str, mark: str) -> int:
    """How many columns the first rows have at least, if that mark divides them."""
    rows = islice(csv.reader(io.StringIO(sample, newline=""), delimiter=mark), 5)
    with contextlib.suppress(csv.Error):
        return min((len(row) for row in rows if row), default=0)
    return 0


def workbook(source: Source) -> Iterator[Page]:
    """The sheets of an XLSX, hidden ones too."""
    number = 0
    for name, rows in workbook_rows(source):
        for page in _pages(name, number, rows):
            number = page.number
            yield page


def workbook_rows(source: Source) -> Iterator[tuple[str, Iterable[Row]]]:
    """The sheets of an XLSX by name, with their rows as they are.

    Raises:
        DamagedDocument: it is none, or cannot be read.
    """
    archive = Archive(source, "XLSX")
    main = "xl/workbook.xml"
    root = archive.xml(main)
    related = archive.related(main)
    strings = _strings(archive, related)
    formats = _formats(archive, related)
    properties = root.find(f"{_S}workbookPr")
    since_1904 = properties is not None and properties.get("date1904") in ("1", "true")
    for sheet in root.iter(f"{_S}sheet"):
        kind, member = related.get(sheet.get(f"{_R}id", ""), ("", ""))
        if kind != "worksheet" or member not in archive:
            continue
        rows = _filled(_rows(archive, member, _Cells(strings, formats, since_1904)), _merged(archive, member))
        yield sheet.get("name", ""), rows


def _pages(sheet: str, before: int, rows: Iterable[Row]) -> Iterator[Page]:
    """Pages of a sheet. A title in one cell is a heading; the first row with several is the head."""
    number, begin, held = before + 1, 0, list[Block]()
    table = _Table()
    last = 0
    for at, cells in rows:
        if held and at - begin >= _ROWS:
            yield Page(number, _label(sheet, begin, last), tuple(held))
            number, held = number + 1, [Block(" | ".join(table.head), "table")] if table.head else []
            begin = at
        begin = begin or at
        last = at
        held += table.blocks([one_line(cell) for cell in cells])
    held += table.rest()
    if held:
        yield Page(number, _label(sheet, begin, last), tuple(held))


def _label(sheet: str, begin: int, last: int) -> str:
    return f"{sheet} {begin}–{last}".strip()


class _Table:
    """Where one table ends and the next one begins, and what its columns are called."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self._waiting: list[str] | None = None
        """A row that is the head if another follows, and a heading or a row if not."""

    def blocks(self, cells: list[str]) -> Iterator[Block]:
        filled = [cell for cell in cells if cell]
        if not filled:
            yield from self.rest()
            self.head = []
        elif self.head:
            yield Block(row_text(self.head, cells), "row")
        elif self._waiting is not None:
            above, self._waiting = self._waiting, None
            spanning = any(one == other != "" for one, other in pairwise(above))
            below = spanning and not any(map(_is_number, filled))  # the columns' own names, under shared ones
            pairs = zip_longest(above, cells if below else [], fillvalue="")
            self.head = [" ".join(dict.fromkeys(filter(None, pair))) for pair in pairs]
            yield Block(" | ".join(self.head), "table")
            if not below:
                yield Block(row_text(self.head, cells), "row")
        elif len(set(filled)) == 1:
            yield Block(filled[0], "heading", 2)
        else:
            self._waiting = cells

    def rest(self) -> Iterator[Block]:
        """What waited for a row that never came."""
        if self._waiting is not None:
            yield Block(row_text([], self._waiting), "row")
            self._waiting = None


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+¥$€]?[\d,]*\.?\d+%?", text))


def _strings(archive: Archive, related: dict[str, tuple[str, str]]) -> list[str]:
    member = next((member for kind, member in related.values() if kind == "sharedStrings"), "")
    if member not in archive:
        return []
    return [_rich(item) for item in archive.elements(member, f"{_S}si")]


def _rich(item: Element) -> str:
    """The text of a string without its reading aid."""
    return "".join(
        (part.text or "") if local(part) == "t" else "".join(t.text or "" for t in part.iter(f"{_S}t"))
        for part in item
        if local(part) in ("t", "r")
    )


def _formats(archive: Archive, related: dict[str, tuple[str, str]]) -> list[str]:
    """What the number format of each cell style shows: `date`, `time`, `%` or nothing of these."""
    member = next((member for kind, member in related.values() if kind == "styles"), "")
    if member not in archive:
        return []
    root = archive.xml(member)
    own = {item.get("numFmtId"): item.get("formatCode", "") for item in root.iter(f"{_S}numFmt")}
    cells = root.find(f"{_S}cellXfs")
    return [_shows(style.get("numFmtId", "0"), own) for style in cells] if cells is not None else []


def _shows(number: str, own: dict[str | None, str]) -> str:
    if number in own:
        code = _QUOTED.sub("", own[number]).lower().split(";")[0]
        if re.search(r"[ydhs]|m(?!.*[#0?])", code) and "general" not in code:
            return "date" if re.search(r"[yd]", code) or not re.search(r"[hs]", code) else "time"
        return "%" if "%" in code else ""
    if number.isdigit() and int(number) in _DATES:
        return "time" if int(number) in _TIMES else "date"
    return "%" if number in ("9", "10") else ""


class _Cells:
    """Cells as the words that people see in them."""

    def __init__(self, strings: Sequence[str], formats: Sequence[str], since_1904: bool) -> None:
        self._strings, self._formats = strings, formats
        self._zero = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)

    def text(self, cell: Element) -> str:
        kind, value = cell.get("t", "n"), cell.find(f"{_S}v")
        if kind == "inlineStr":
            inline = cell.find(f"{_S}is")
            return _rich(inline) if inline is not None else ""
        if value is None or value.text is None:
            formula = cell.find(f"{_S}f")
            return f"={formula.text}" if formula is not None and formula.text else ""
        if kind == "s":
            at = int(value.text) if value.text.isdigit() else -1
            return self._strings[at] if 0 <= at < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if value.text == "1" else "FALSE"
        if kind == "n":
            return self._number(value.text, cell.get("s", "0"))
        return value.text

    def _number(self, text: str, style: str) -> str:
        try:
            value = float(text)
        except ValueError:
            return text
        at = int(style) if style.isdigit() else 0
        shows = self._formats[at] if at < len(self._formats) else ""
        if shows in ("date", "time") and 0 <= value < 2_958_466:
            moment = self._zero + timedelta(seconds=round(value * 86_400))
            clock = moment.strftime("%H:%M:%S").removesuffix(":00")
            if shows == "time" or value < 1:
                return clock
            return moment.strftime("%Y-%m-%d") + (f" {clock}" if value % 1 else "")
        return f"{value * 100:.10g}%" if shows == "%" else f"{value:.15g}"


def _rows(archive: Archive, member: str, cells: _Cells) -> Iterator[Row]:
    """The rows that are there; between them may be gaps."""
    last = 0
    for row in archive.elements(member, f"{_S}row"):
        number = int(row.get("r", "0")) or last + 1
        if number > last + 1:
            yield last + 1, []
        texts: list[str] = []
        for cell in row.iter(f"{_S}c"):
            place = re.match(r"[A-Z]+", cell.get("r", ""))
            column = _column(place[0]) if place else len(texts)
            if column < _MOST_COLUMNS:
                texts += [""] * (column + 1 - len(texts))
                texts[column] = cells.text(cell)
        last = number
        yield number, texts


def _column(letters: str) -> int:
    """The number of a column from 0: A is 0, AA is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _merged(archive: Archive, member: str) -> dict[tuple[int, int], tuple[int, int]]:
    """The (row, column) of each cell that is part of a larger one -> the one that holds the text."""
    held, found = b"", dict[tuple[int, int], tuple[int, int]]()
    for piece in archive.pieces(member):
        held += piece
        end = 0
        for match in _MERGED.finditer(held):
            end = match.end()
            left, top, right, bottom = (part.decode() for part in match.groups())
            columns = range(_column(left), min(_column(right) + 1, _MOST_COLUMNS))
            for row in range(int(top), int(bottom) + 1):
                for column in columns:
                    if len(found) >= _MOST_MERGED:
                        return found
                    found[row, column] = int(top), _column(left)
        held = held[max(end, len(held) - 200) :]
    return found


def _filled(rows: Iterable[Row], merged: dict[tuple[int, int], tuple[int, int]]) -> Iterator[Row]:
    """Rows in which each part of a merged cell has its text."""
    texts: dict[tuple[int, int], str] = {}
    corners = set(merged.values())
    wide: dict[int, int] = {}
    for row, column in merged:
        wide[row] = max(wide.get(row, 0), column + 1)
    for number, cells in rows:
        cells += [""] * (wide.get(number, 0) - len(cells))
        for column in range(len(cells)):
            if (number, column) in corners:
                texts[number, column] = cells[column]
            elif (number, column) in merged:
                cells[column] = texts.get(merged[number, column], "")
        yield number, cells
