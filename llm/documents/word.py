"""DOCX: the body in order, tables as rows, text boxes, foot notes, and the pages as Word last saw them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from llm.documents.archive import Archive, local
from llm.documents.document import Block, Page
from llm.documents.source import Source
from llm.documents.tables import one_line, row_text, table_blocks

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_UNSEEN = {"del", "moveFrom", "Fallback", "instrText", "pPr", "rPr", "sectPr", "tblPr", "tcPr", "trPr"}
_HEADING = re.compile(r"(?:heading|标题|überschrift|titre)\s*(\d)", re.IGNORECASE)
_PART = 100
"""Blocks a page where nobody has said where pages end."""


def read(source: Source) -> Iterator[Page]:
    """The pages of a DOCX; without page breaks of Word's they are parts without a label."""
    archive = Archive(source, "DOCX")
    main = next((name for name in archive.names() if re.fullmatch(r"word/document\d*\.xml", name)), "word/document.xml")
    body = archive.xml(main).find(f"{_W}body")
    levels = _levels(archive)
    blocks: list[Block] = []
    number = 1
    paged = body is not None and any(_ends_page(element) for element in body.iter())
    for element in body if body is not None else ():
        found = list(_blocks(element, levels))
        breaks = sum(map(_ends_page, element.iter()))
        if (breaks if paged else len(blocks) >= _PART) and blocks:
            yield Page(number, str(number) if paged else "", tuple(blocks))
            blocks = []
            number += breaks if paged else 1
        blocks += found
    blocks += _notes(archive)
    yield Page(number, str(number) if paged else "", tuple(blocks))


def _ends_page(element: Element) -> bool:
    return local(element) == "lastRenderedPageBreak"


def _levels(archive: Archive) -> dict[str, int]:
    """The heading level of each paragraph style that has one."""
    if "word/styles.xml" not in archive:
        return {}
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in archive.xml("word/styles.xml").iter(f"{_W}style"):
        style_id = style.get(f"{_W}styleId", "")
        name = style.find(f"{_W}name")
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        parent = style.find(f"{_W}basedOn")
        called = _HEADING.match(name.get(f"{_W}val", "")) if name is not None else None
        if outline is not None and outline.get(f"{_W}val", "9").isdigit() and int(outline.get(f"{_W}val", "9")) < 9:
            levels[style_id] = int(outline.get(f"{_W}val", "0")) + 1
        elif called:
            levels[style_id] = int(called[1])
        elif name is not None and name.get(f"{_W}val", "").lower() == "title":
            levels[style_id] = 1
        elif parent is not None:
            based[style_id] = parent.get(f"{_W}val", "")
    return {**levels, **{style: levels[parent] for style, parent in based.items() if parent in levels}}


def _blocks(element: Element, levels: dict[str, int]) -> Iterator[Block]:
    kind = local(element)
    if kind == "p":
        style = element.find(f"{_W}pPr/{_W}pStyle")
        outline = element.find(f"{_W}pPr/{_W}outlineLvl")
        level = levels.get(style.get(f"{_W}val", ""), 0) if style is not None else 0
        if outline is not None and (value := outline.get(f"{_W}val", "")).isdigit() and int(value) < 9:
            level = int(value) + 1
        if text := _text(element).strip():
            yield Block(one_line(text), "heading", level) if level else Block(text)
        for box in _boxes(element):
            for inner in box:
                yield from _blocks(inner, levels)
    elif kind == "tbl":
        yield from table_blocks(_rows(element))
    elif kind in ("sdt", "sdtContent", "customXml", "smartTag", "ins"):
        for inner in element:
            yield from _blocks(inner, levels)


def _text(element: Element) -> str:
    """The words of a paragraph, without those of text boxes in it."""
    parts: list[str] = []
    for inner in element:
        kind = local(inner)
        if kind == "t":
            parts.append(inner.text or "")
        elif kind == "tab":
            parts.append("\t")
        elif kind in ("br", "cr"):
            parts.append("\n")
        elif kind == "noBreakHyphen":
            parts.append("-")
        elif kind not in _UNSEEN and kind != "txbxContent":
            parts.append(_text(inner))
    return "".join(parts)


def _boxes(element: Element) -> Iterator[Element]:
    """The text boxes in a paragraph, each once: old programs' copies of them are left out."""
    for inner in element:
        if local(inner) == "txbxContent":
            yield inner
        elif local(inner) not in _UNSEEN:
            yield from _boxes(inner)


def _rows(table: Element) -> list[list[str]]:
    """The texts of a table's cells; what stands in a cell over several rows or columns stands in each of them."""
    rows: list[list[str]] = []
    for row in _children(table, "tr"):
        cells: list[str] = []
        for cell in _children(row, "tc"):
            span = cell.find(f"{_W}tcPr/{_W}gridSpan")
            merge = cell.find(f"{_W}tcPr/{_W}vMerge")
            text = _cell(cell)
            if merge is not None and merge.get(f"{_W}val", "continue") == "continue" and rows:
                text = rows[-1][len(cells)] if len(cells) < len(rows[-1]) else ""
            width = int(span.get(f"{_W}val", "1")) if span is not None else 1
            cells += [text] * max(1, min(width, 100))
        rows.append(cells)
    return rows


def _children(element: Element, kind: str) -> Iterator[Element]:
    """Direct children of a kind, also inside of content controls and marks of insertion."""
    for inner in element:
        if local(inner) == kind:
            yield inner
        elif local(inner) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _children(inner, kind)


def _cell(cell: Element) -> str:
    parts = []
    for inner in cell:
        if local(inner) == "tbl":
            rows = _rows(inner)
            parts += [row_text(rows[0], row) for row in rows[1:]] or [" ".join(rows[0]) if rows else ""]
        elif local(inner) == "p":
            parts.append("\n".join([_text(inner), *("\n".join(map(_text, box)) for box in _boxes(inner))]))
    return "\n".join(part for part in parts if part.strip())


def _notes(archive: Archive) -> Iterator[Block]:
    """Foot notes, end notes, and what stands above and below the pages, each once."""
    seen: set[str] = set()
    for name in sorted(archive.names()):
        if re.fullmatch(r"word/(footnotes|endnotes|header\d*|footer\d*)\.xml", name):
            for paragraph in archive.xml(name).iter(f"{_W}p"):
                text = _text(paragraph).strip()
                if text and text not in seen and re.search(r"[^\W\d]", text):
                    seen.add(text)
                    yield Block(text, "note")
