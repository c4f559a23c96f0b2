"""HTML and EPUB: what one would see of it. No script runs, nothing is fetched, what is hidden stays unread."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from posixpath import normpath
from urllib.parse import unquote

from llm.documents.archive import Archive, local
from llm.documents.document import Block, BlockKind, Page
from llm.documents.encodings import decoded
from llm.documents.errors import DamagedDocument, EncryptedDocument
from llm.documents.plain import paged
from llm.documents.source import Source
from llm.documents.tables import one_line, table_blocks

_SKIPPED = {"script", "style", "noscript", "template", "svg", "nav", "select", "button", "iframe", "object", "math"}
_VOID = {"br", "img", "hr", "input", "meta", "link", "wbr", "col", "area", "base", "embed", "source", "track"}
_APART = {
    "p", "div", "section", "article", "main", "header", "footer", "aside", "li", "ul", "ol", "dl", "dt", "dd", "figure",
    "blockquote", "address", "details", "summary", "fieldset", "form", "body", "hr",
}  # fmt: skip
_HIDDEN = re.compile(r"(display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0)", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]{2,30})", re.IGNORECASE)
_MOST_SPAN = 200


def html(source: Source) -> Iterator[Page]:
    """An HTML file, in stretches of about as many lines as it has blocks."""
    text, source.encoding = _text(source.path.read_bytes(), source.name, source.encoding)
    for page in paged(enumerate(blocks(text), start=1)):
        yield Page(page.number, "", page.blocks)


def epub(source: Source) -> Iterator[Page]:
    """The chapters of a book in reading order, named by their first heading. Raises EncryptedDocument for DRM."""
    archive = Archive(source, "EPUB")
    root = next((e for e in archive.xml("META-INF/container.xml").iter() if local(e) == "rootfile"), None)
    place = root.get("full-path", "") if root is not None else ""
    if place not in archive:
        raise DamagedDocument(name=source.name, kind="EPUB", detail="no table of contents")
    package, folder = archive.xml(place), place.rpartition("/")[0]
    items = {e.get("id"): unquote(e.get("href", "")) for e in package.iter() if local(e) == "item"}
    locked = _locked(archive)
    number = 0
    for reference in (e for e in package.iter() if local(e) == "itemref"):
        member = normpath(f"{folder}/{items.get(reference.get('idref'), '')}").lstrip("/")
        if member in locked:
            raise EncryptedDocument(name=source.name)
        if member not in archive:
            continue
        number += 1
        found = tuple(blocks(_text(archive.read(member), source.name)[0]))
        title = next((block.text for block in found if block.kind == "heading"), str(number))
        yield Page(number, title[:80], found)


def _locked(archive: Archive) -> set[str]:
    """Members that only a seller's program can read."""
    if "META-INF/encryption.xml" not in archive:
        return set()
    return {unquote(e.get("URI", "")) for e in archive.xml("META-INF/encryption.xml").iter() if e.get("URI")}


def _text(data: bytes, name: str, encoding: str = "") -> tuple[str, str]:
    """Markup in the encoding asked for, else the one that it names itself if it is, else the most plausible one."""
    named = _CHARSET.search(data[:4096])
    if not encoding and named and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        said = named[1].decode().lower()
        said = "gb18030" if said in ("gb2312", "gbk", "gb_2312-80") else said
        try:
            return data.decode(said), said
        except (UnicodeDecodeError, LookupError):
            return decoded(data, name)
    return decoded(data, name, encoding)


def blocks(markup: str) -> Iterator[Block]:
    """The blocks of HTML."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    reader.end()
    yield from reader.blocks


class _Table:
    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.layout = False
        """It holds other tables, so that its cells are places on the page and no values."""
        self.below: dict[int, tuple[int, str]] = {}
        """Column -> for how many more rows a cell reaches down, and its text."""
        self.span = (1, 1)

    def close_cell(self, text: str) -> None:
        across, down = self.span
        row = self.rows[-1]
        self.reach_down()
        for _ in range(across):
            if down > 1:
                self.below[len(row)] = down - 1, text
            row.append(text)

    def reach_down(self) -> None:
        """Puts in cells of rows above that reach into this one."""
        row = self.rows[-1]
        while len(row) in self.below:
            left, text = self.below.pop(len(row))
            if left > 1:
                self.below[len(row)] = left - 1, text
            row.append(text)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._words: list[str] = []
        self._kind: BlockKind = "text"
        self._level = 0
        self._skipping: list[str] = []
        """The tag that is left out with all that it holds, and those open within."""
        self._tables: list[_Table] = []
        self._in_cell = False
        self._title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        hidden = "hidden" in values or _HIDDEN.search(values.get("style", ""))
        if tag not in _VOID and (self._skipping or tag in _SKIPPED or hidden):
            self._skipping.append(tag)
        elif tag == "br":
            self._words.append("\n")
        elif tag == "img" and not self._skipping:
            self._words.append(values.get("alt", ""))
        elif tag == "title":
            self._title = True
        elif re.fullmatch("h[1-6]", tag):
            self._flush()
            self._kind, self._level = "heading", int(tag[1])
        elif tag == "pre":
            self._flush()
            self._kind = "code"
        elif tag in ("caption", "figcaption"):
            self._flush()
            self._kind = "caption"
        elif tag == "table":
            self._flush()
            for table in self._tables:
                table.layout = True
            self._in_cell = False
            self._tables.append(_Table())
        elif tag == "tr" and self._tables:
            self._close_cell()
            self._tables[-1].rows.append([])
        elif tag in ("td", "th") and self._tables:
            self._close_cell()
            if not self._tables[-1].rows:
                self._tables[-1].rows.append([])
            self._tables[-1].span = _span(values, "colspan"), _span(values, "rowspan")
            self._in_cell = True
        elif tag in _APART:
            self._flush()
            if tag == "li":
                self._words.append("• ")

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            if tag in self._skipping:
                while self._skipping.pop() != tag:
                    pass
        elif tag == "title":
            self._title = False
        elif tag in ("td", "th", "tr"):
            self._close_cell()
        elif tag == "table" and self._tables:
            self._close_cell()
            table = self._tables.pop()
            self._emit(table)
            self._in_cell = bool(self._tables)
        elif tag in _APART or tag in ("pre", "caption", "figcaption") or re.fullmatch("h[1-6]", tag):
            self._flush()

    def handle_data(self, data: str) -> None:
        if self._title:  # what the window is called is no part of the page
            return
        if not self._skipping:
            self._words.append(data if self._kind == "code" else re.sub(r"\s+", " ", data))

    def end(self) -> None:
        """What no tag has closed."""
        while self._tables:
            self.handle_endtag("table")
        self._flush()

    def _flush(self) -> None:
        if self._in_cell and self._tables and not self._tables[-1].layout:
            self._words.append("\n")
            return
        text = "".join(self._words)
        text = text.strip("\n") if self._kind == "code" else re.sub(r" *\n *", "\n", re.sub(r" +", " ", text)).strip()
        if text.strip("• \n"):
            self.blocks.append(Block(one_line(text) if self._kind == "heading" else text, self._kind, self._level))
        self._words.clear()
        self._kind, self._level = "text", 0

    def _close_cell(self) -> None:
        if not self._tables or not self._in_cell:
            return
        if self._tables[-1].layout:
            self._flush()
        else:
            self._tables[-1].close_cell("".join(self._words).strip())
            self._words.clear()
        self._in_cell = False

    def _emit(self, table: _Table) -> None:
        if table.layout or max(map(len, table.rows), default=0) < 2:
            self.blocks += [Block(cell) for row in table.rows for cell in row if cell.strip()]
        else:
            self.blocks += table_blocks(table.rows)


def _span(values: dict[str, str], name: str) -> int:
    return max(1, min(int(values[name]), _MOST_SPAN)) if values.get(name, "").isdigit() else 1
