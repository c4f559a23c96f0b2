"""PDF files written by hand: Chinese without an embedded font, ruled tables, scans, tables of characters that lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_LIES = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
1 beginbfrange <00> <FF> <9F00> endbfrange endcmap end end"""
"""A ToUnicode table that makes rare Chinese characters of Latin letters."""


@dataclass
class Sheet:
    """One A4 page: texts as (x, y, size, text) from the upper left corner, lines as (x1, y1, x2, y2), one picture."""

    texts: Sequence[tuple[float, float, float, str]] = ()
    lines: Sequence[tuple[float, float, float, float]] = ()
    jpeg: bytes = b""
    size: tuple[int, int] = (0, 0)
    rotate: int = 0
    label: str = ""
    widths: tuple[int, int] = field(default=(595, 842))


def pdf(sheets: Sequence[Sheet], lies: bool = False) -> bytes:
    """The file. Chinese characters are as wide as their size, others half as wide.

    lies: the text is Latin and cannot be seen, and its font names other characters.
    """
    objects: list[bytes] = [b"", b""]

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    def stream(entries: bytes, data: bytes) -> int:
        return add(b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data))

    inner = add(
        b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /DW 1000 /W [1 95 500] /CIDSystemInfo "
        b"<< /Registry (Adobe) /Ordering (GB1) /Supplement 4 >> /FontDescriptor << /Type /FontDescriptor "
        b"/FontName /STSong-Light /Flags 6 /Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 /ItalicAngle 0 "
        b"/FontBBox [-25 -254 1000 880] >> >>"
    )
    if lies:
        font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode %d 0 R >>" % stream(b"", _LIES)
    else:
        font = (
            b"<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H "
            b"/DescendantFonts [%d 0 R] >>" % inner
        )
    font_id = add(font)
    kids = []
    for sheet in sheets:
        width, height = sheet.widths
        ink = b""
        names = b""
        if sheet.jpeg:
            entries = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8"
            picture = stream(entries % sheet.size + b" /Filter /DCTDecode", sheet.jpeg)
            names = b"/XObject << /P %d 0 R >>" % picture
            ink += b"q %d 0 0 %d 0 0 cm /P Do Q\n" % (width, height)
        for x1, y1, x2, y2 in sheet.lines:
            ink += f"{x1} {height - y1} m {x2} {height - y2} l S\n".encode()
        for x, y, size, text in sheet.texts:
            mode = 3 if lies else 0
            code = text.encode("latin-1" if lies else "utf-16-be", "surrogatepass").hex()
            ink += f"BT /F {size} Tf {mode} Tr 1 0 0 1 {x} {height - y - size} Tm <{code}> Tj ET\n".encode()
        kids.append(
            add(
                b"<< /Type /Page /Parent 2 0 R /Rotate %d /MediaBox [0 0 %d %d] /Contents %d 0 R "
                b"/Resources << /Font << /F %d 0 R >> %s >> >>"
                % (sheet.rotate, width, height, stream(b"", ink), font_id, names)
            )
        )
    labels = b" ".join(b"%d << /P (%s) >>" % (at, s.label.encode()) for at, s in enumerate(sheets) if s.label)
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R /PageLabels << /Nums [%s] >> >>" % labels
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    return _file(objects)


def _file(objects: Sequence[bytes]) -> bytes:
    data, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return data + b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        count, table, count, len(data),
    )  # fmt: skip
