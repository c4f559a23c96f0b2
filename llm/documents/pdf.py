"""PDF by PDFium: text with boxes; pages without readable text are read from their pictures."""

from __future__ import annotations

import ctypes
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from llm.documents.document import Block, Box, Page
from llm.documents.encodings import usual_share
from llm.documents.errors import DamagedDocument, EncryptedDocument
from llm.documents.layout import Layout, Segment
from llm.documents.scans import segments_in
from llm.documents.source import Source

DPI = 200
"""At which pages are drawn to be read: 2.8 pixels a point."""
_MOST_PIXELS = 25_000_000
_FEW_CHARACTERS = 16
"""A page with fewer and with pictures is looked at: a stamp or a watermark is not its text."""
_EDGE = 0.09
"""Share of the height in which running heads and feet stand."""
_BOLD = 600
_THIN = 2.5
"""Points: what is thinner is a line."""
_MOST_PATHS = 5_000
_MOST_POINTS = 2_000


def read(source: Source) -> Iterator[Page]:
    """The pages of a PDF. Running heads and feet are kept once.

    Raises:
        EncryptedDocument: it has a password. DamagedDocument: PDFium cannot open it.
    """
    try:
        pdf = pypdfium2.PdfDocument(source.path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD:
            raise EncryptedDocument(name=source.name) from error
        raise DamagedDocument(name=source.name, kind="PDF", detail=str(error)) from error
    try:
        yield from _laid_out(_pages(pdf, source))
    finally:
        pdf.close()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A page before its layout. rules: the lines drawn on it. body: the size of the running text up to here."""

    page: Page
    segments: list[Segment]
    rules: list[Box]
    body: float


def _pages(pdf: Any, source: Source) -> Iterator[_Seen]:
    sizes: Counter[float] = Counter()
    by_ocr: list[int] = []
    missing: list[int] = []
    for index in range(len(pdf)):
        page = pdf[index]
        rules = list(_rules(page))
        segments, doubtful = _segments(page, rules)
        ocr = False
        if doubtful and len(by_ocr) >= source.limits.ocr_pages:
            missing.append(index + 1)
        elif doubtful:
            found = segments_in(picture(page), *page.get_size())
            if _better(found, segments):
                segments, ocr = found, True
                by_ocr.append(index + 1)
        for segment in segments:
            sizes[round(segment.size, 1)] += len(segment.text)
        label = pdf.get_page_label(index) or str(index + 1)
        shown = Page(index + 1, label, (), ocr=ocr, size=page.get_size())
        yield _Seen(shown, segments, [] if ocr else rules, _most_usual(sizes))
        page.close()
    if by_ocr:
        source.note("ocr", pages=ranges(by_ocr))
    if missing:
        source.note("not_read", pages=ranges(missing), limit=source.limits.ocr_pages)


def _most_usual(sizes: Counter[float]) -> float:
    return sizes.most_common(1)[0][0] if sizes else 0.0


def ranges(numbers: Sequence[int]) -> str:
    """Page numbers as people write them: 1–3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _segments(page: Any, rules: Sequence[Box]) -> tuple[list[Segment], bool]:
    """The text of a page, and whether it should better be read from the picture."""
    text_page = page.get_textpage()
    try:
        segments, unmapped = _stretches(page, text_page.raw, [rule for rule in rules if rule[2] - rule[0] < _THIN])
    finally:
        text_page.close()
    text = "".join(segment.text for segment in segments)
    if len(text) < _FEW_CHARACTERS:
        drawn = [pdfium.FPDF_PAGEOBJ_IMAGE, *([] if text else [pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING])]
        return segments, _has_pictures(page, drawn) or unmapped > 0
    wrong = unmapped + sum(
        "\ue000" <= character <= "\uf8ff" or character in "\ufffd\ufffe\uffff" or ord(character) < 32
        for character in text
    )
    return segments, wrong > 0.1 * len(text) or text.count("(cid:") > 3 or not plausible(text)


def plausible(text: str) -> bool:
    """Whether text looks like a language: a font's wrong table gives rare characters, or letters without vowels."""
    if (chinese := usual_share(text)) is not None and chinese < 0.03:
        return False
    letters = [character for character in text.lower() if "a" <= character <= "z"]
    if len(letters) < 200 or len(letters) < len(text) // 2:
        return True
    return 0.2 < sum(letter in "aeiou" for letter in letters) / len(letters) < 0.6


def _stretches(page: Any, text: Any, upright_rules: Sequence[Box]) -> tuple[list[Segment], int]:
    """The characters of a page put together, and how many of them the font could not name.

    A wide gap parts them, and a line that is drawn between two.
    """
    upright = _upright(page)
    box = pdfium.FS_RECTF()
    segments: list[Segment] = []
    unmapped = 0
    held: list[str] = []
    begin, size = 0, 1.0
    left = top = right = bottom = 0.0

    def close() -> None:
        words = "".join(held).strip()
        if words:
            middle = begin + len(held) // 2  # the first may be a bullet of another font
            bold = pdfium.FPDFText_GetFontWeight(text, middle) >= _BOLD
            segments.append(Segment(words, (left, top, right, bottom), _size(text, middle), bold))
        held.clear()

    for at in range(pdfium.FPDFText_CountChars(text)):
        character = chr(pdfium.FPDFText_GetUnicode(text, at))
        if character in "\r\n":
            close()
            continue
        strange = character in "\0\ufffe\uffff" or "\ue000" <= character <= "\uf8ff"
        if strange and pdfium.FPDFText_HasUnicodeMapError(text, at):
            unmapped += 1
        if character == "\0":
            continue
        if character.isspace():
            if held:
                held.append(" ")
            continue
        pdfium.FPDFText_GetLooseCharBox(text, at, box)
        x1, y1, x2, y2 = upright((box.left, box.top, box.right, box.bottom))
        if held:
            beside = min(bottom, y2) - max(top, y1) > 0.3 * min(bottom - top, y2 - y1)
            gap = x1 - right
            if not beside or not -size < gap < size or (gap > 0.1 * size and _parted(upright_rules, right, x1, y1, y2)):
                close()
        if not held:
            begin, size = at, _size(text, at)
            left, top, right, bottom = x1, y1, x2, y2
        held.append("-" if character == "\x02" else character)
        left, top, right, bottom = min(left, x1), min(top, y1), max(right, x2), max(bottom, y2)
    close()
    return segments, unmapped


def _size(text: Any, at: int) -> float:
    """The font's size of a character in points, as it is drawn."""
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFText_GetMatrix(text, at, matrix)
    return max(round(float(pdfium.FPDFText_GetFontSize(text, at)) * math.hypot(matrix.b, matrix.d), 2), 0.1)


def _parted(rules: Sequence[Box], left: float, right: float, top: float, bottom: float) -> bool:
    middle = (top + bottom) / 2
    return any(left - 1 < rule[0] < right + 1 and rule[1] <= middle <= rule[3] for rule in rules)


def _upright(page: Any) -> Callable[[Box], Box]:
    """From PDF's coordinates, which may be turned and moved, to points from the upper left corner of what is seen."""
    width, height = page.get_size()
    scale = 1000

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(
            page.raw, 0, 0, round(width * scale), round(height * scale), 0, x, y, across, down
        )  # fmt: skip
        return across.value / scale, down.value / scale

    x0, y0 = at(0, 0)
    (xx, yx), (xy, yy) = at(1000, 0), at(0, 1000)
    xx, yx, xy, yy = (xx - x0) / 1000, (yx - y0) / 1000, (xy - x0) / 1000, (yy - y0) / 1000

    def turned(box: Box) -> Box:
        left, top, right, bottom = box
        one = x0 + xx * left + xy * top, y0 + yx * left + yy * top
        other = x0 + xx * right + xy * bottom, y0 + yx * right + yy * bottom
        return min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])

    return turned


def _has_pictures(page: Any, kinds: Sequence[int]) -> bool:
    return any(item.type in kinds for item in islice(page.get_objects(max_depth=3), _MOST_PATHS))


def picture(page: Any, dpi: float = DPI) -> Any:
    """A page as a Pillow image, smaller where it would be huge."""
    width, height = page.get_size()
    scale = min(dpi / 72, (_MOST_PIXELS / max(width * height, 1)) ** 0.5)
    return page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")


def _better(found: Sequence[Segment], there: Sequence[Segment]) -> bool:
    """Whether what was read from the picture replaces the text: there is some, and not far less of it."""
    return sum(len(s.text) for s in found) > 0.5 * sum(len(s.text) for s in there)


def _laid_out(pages: Iterator[_Seen]) -> Iterator[Page]:
    """Pages with their blocks. Lines at a page's edges that the pages around it have too are kept once."""
    layout = Layout()
    window: deque[_Seen] = deque(islice(pages, 2))
    before: deque[set[str]] = deque(maxlen=2)
    known: set[str] = set()
    while window:
        seen = window.popleft()
        window.extend(islice(pages, 1))
        here = _edges(seen)
        near = set[str]().union(*before, *(_edges(other).values() for other in window))
        running = {at: key for at, key in here.items() if key in near}
        kept = [segment for at, segment in enumerate(seen.segments) if at not in running]
        new = [seen.segments[at] for at, key in running.items() if key not in known]
        known.update(running.values())
        before.append(set(here.values()))
        notes = tuple(Block(segment.text, "note", box=segment.box) for segment in new)
        layout.body, layout.coarse = seen.body, seen.page.ocr
        yield replace(seen.page, blocks=(*layout.blocks(kept, seen.rules), *notes))


def _rules(page: Any) -> Iterator[Box]:
    """The straight lines that are drawn on a page, and the edges of drawn rectangles, as thin boxes."""
    upright = _upright(page)
    for item in islice(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH], max_depth=1), _MOST_PATHS):
        points = _points(item)
        for (x1, y1), (x2, y2) in points:
            left, top, right, bottom = upright((min(x1, x2), max(y1, y2), max(x1, x2), min(y1, y2)))
            if (bottom - top < _THIN) != (right - left < _THIN):
                yield left, top, right, bottom


def _points(item: Any) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """The straight pieces of a path, from point to point in the page's coordinates."""
    matrix = item.get_matrix()
    x, y = ctypes.c_float(), ctypes.c_float()
    begin = last = (0.0, 0.0)
    for at in range(min(pdfium.FPDFPath_CountSegments(item.raw), _MOST_POINTS)):
        segment = pdfium.FPDFPath_GetPathSegment(item.raw, at)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        here = matrix.on_point(x.value, y.value)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            begin = here
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            yield last, here
        last = here
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield here, begin
            last = begin


def _edges(seen: _Seen) -> dict[int, str]:
    """The segments at the upper and lower edge, by their index, with numbers made equal."""
    height = seen.page.size[1] if seen.page.size else 0.0
    return {
        at: "".join("#" if character.isdigit() else character for character in segment.text)
        for at, segment in enumerate(seen.segments)
        if segment.box[3] < _EDGE * height or segment.box[1] > (1 - _EDGE) * height
    }
