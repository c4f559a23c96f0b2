"""How fast documents are read, and what the program that reads them takes: python -m benchmarks.documents

Makes the documents itself: a PDF of 1,000 dense Chinese pages, a text file of the same words, a workbook, a scan.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from PIL import Image

from llm.documents.chunks import chunks
from llm.documents.document import Document
from llm.documents.reading import read_document
from tests.documents.pdf_maker import Sheet, pdf

SENTENCE = "本手册说明净水器的安装、使用和维护，第{n}号零件每月检查一次。"
SCAN = Path(__file__).parents[1] / "assets" / "examples" / "page-zh.png"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = [(60.0, 60.0 + 18 * at, 11.0, SENTENCE.format(n=at)) for at in range(40)]
        (folder / "a.pdf").write_bytes(pdf([Sheet(texts)] * 1000))
        words = "\n".join(text for *_, text in texts)
        (folder / "a.txt").write_text((words + "\n\n") * 1000, encoding="utf-8")
        rows = "\n".join(f"AB-{at},零件{at},{at * 3}" for at in range(50_000))
        (folder / "a.csv").write_text("编号,名称,价格\n" + rows, encoding="gb18030")
        Image.open(SCAN).convert("RGB").save(folder / "scan.pdf")
        print("| document | size | seconds | pages/s | characters/s |\n| --- | --- | --- | --- | --- |")
        document = None
        for file, pages in (("a.pdf", 1000), ("a.txt", 1000), ("a.csv", 250), ("scan.pdf", 1)):
            found = measured(folder / file, pages)
            document = document or found
        assert document is not None
        begun = time.perf_counter()
        made = chunks(document, len)
        print(f"chunks of the PDF: {len(made):,} in {time.perf_counter() - begun:.2f} s")


def measured(path: Path, pages: int) -> Document:
    begun = time.perf_counter()
    document = read_document(path, path.name)
    took = time.perf_counter() - begun
    characters = len(document.text)
    size = path.stat().st_size / (1 << 20)
    print(f"| {path.name} | {size:.1f} MiB | {took:.2f} | {pages / took:.1f} | {characters / took:,.0f} |", flush=True)
    return document


if __name__ == "__main__":
    main()
