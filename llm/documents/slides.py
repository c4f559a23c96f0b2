"""PPTX: each slide's title, texts and tables in reading order, with the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from llm.documents.archive import Archive, local
from llm.documents.document import Block, Page
from llm.documents.source import Source
from llm.documents.tables import one_line, table_blocks

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("sldNum", "dt", "ftr", "hdr", "sldImg")
_POINT = 12_700
"""Office's units a point."""


def read(source: Source) -> Iterator[Page]:
    """The slides in the order in which they are shown."""
    archive = Archive(source, "PPTX")
    main = "ppt/presentation.xml"
    root = archive.xml(main)
    related = archive.related(main)
    extent = root.find(f"{_P}sldSz")
    size = (_points(extent, "cx"), _points(extent, "cy")) if extent is not None else None
    slides = [related.get(slide.get(f"{_R}id", ""), ("", ""))[1] for slide in root.iter(f"{_P}sldId")]
    for number, name in enumerate((name for name in slides if name in archive), start=1):
        shapes = sorted(_shapes(archive.xml(name)), key=_place)
        blocks = [block for shape in shapes for block in _blocks(shape)]
        for kind, other in archive.related(name).values():
            if kind == "notesSlide" and other in archive:
                for shape in _shapes(archive.xml(other)):
                    blocks += [Block(block.text, "note") for block in _blocks(shape)]
            elif kind == "diagramData" and other in archive:
                texts = (_paragraph(paragraph) for paragraph in archive.xml(other).iter(f"{_A}p"))
                blocks += [Block(text) for text in texts if text]
        yield Page(number, str(number), tuple(blocks), size=size)


def _shapes(element: Element) -> Iterator[Element]:
    """The shapes with text or a table, out of their groups; copies for old programs are left out."""
    for inner in element:
        if local(inner) in ("sp", "graphicFrame"):
            yield inner
        elif local(inner) != "Fallback":
            yield from _shapes(inner)


def _placeholder(shape: Element) -> str:
    found = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return found.get("type", "body") if found is not None else ""


def _place(shape: Element) -> tuple[bool, float, float]:
    """Titles first, then from top to bottom and from left to right."""
    offset = next(shape.iter(f"{_A}off"), None)
    below = _placeholder(shape) not in _TITLES
    return (below, _points(offset, "y") // 20, _points(offset, "x")) if offset is not None else (below, 0, 0)


def _points(element: Element, name: str) -> float:
    return int(element.get(name, "0")) / _POINT


def _blocks(shape: Element) -> Iterator[Block]:
    kind = _placeholder(shape)
    if kind in _FURNITURE:
        return
    for table in shape.iter(f"{_A}tbl"):
        yield from table_blocks(list(_rows(table)))
    texts = [_paragraph(paragraph) for body in shape.iter(f"{_P}txBody") for paragraph in body.iter(f"{_A}p")]
    texts = [text for text in texts if text]
    if kind in _TITLES and texts:
        yield Block(one_line(" ".join(texts)), "heading", 1)
    elif texts:
        yield Block("\n".join(texts))


def _rows(table: Element) -> Iterator[list[str]]:
    """The texts of the cells; what stands in a cell over several rows or columns stands in each of them."""
    above: list[str] = []
    for row in table.iter(f"{_A}tr"):
        cells: list[str] = []
        for cell in row.iter(f"{_A}tc"):
            text = "\n".join(filter(None, (_paragraph(paragraph) for paragraph in cell.iter(f"{_A}p"))))
            if cell.get("hMerge") in ("1", "true") and cells:
                text = cells[-1]
            elif cell.get("vMerge") in ("1", "true") and len(cells) < len(above):
                text = above[len(cells)]
            cells.append(text)
        above = cells
        yield cells


def _paragraph(paragraph: Element) -> str:
    parts = []
    for inner in paragraph.iter():
        if local(inner) == "t":
            parts.append(inner.text or "")
        elif local(inner) == "br":
            parts.append("\n")
    return "".join(parts).strip()
