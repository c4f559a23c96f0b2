"""Tables that spreadsheets open."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
import zipfile

from llm.vision.sheet import as_csv, as_excel

ROWS = [["picture", "answer"], ["猫.png", 'a "cat",\nasleep'], ["a.png", "=1+1"], ["b.png", "5 < 6 & \x00\x0b"]]


def test_csv_reads_back_and_holds_no_formula() -> None:
    data = as_csv(ROWS)
    assert data.startswith(b"\xef\xbb\xbf")
    read = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert read[:2] == ROWS[:2] and read[2] == ["a.png", "'=1+1"]


def test_excel_is_well_formed_and_every_cell_is_text() -> None:
    with zipfile.ZipFile(io.BytesIO(as_excel(ROWS))) as archive:
        for name in archive.namelist():
            ElementTree.fromstring(archive.read(name))
        sheet = ElementTree.fromstring(archive.read("xl/sheet.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    rows = [["".join(cell.itertext()) for cell in row] for row in sheet.iter(f"{space}row")]
    assert rows[:3] == ROWS[:3] and rows[3] == ["b.png", "5 < 6 & "]
    assert {cell.get("t") for cell in sheet.iter(f"{space}c")} == {"inlineStr"}
