"""PDF: text with boxes in reading order, tables as rows, scans and garbled text by OCR."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from llm.documents.document import Document
from llm.documents.errors import DamagedDocument, EncryptedDocument
from llm.documents.pictures import page_picture
from llm.documents.reading import read_document
from tests.documents.pdf_maker import Sheet, pdf

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


def read(tmp_path: Path, data: bytes) -> Document:
    file = tmp_path / "a.pdf"
    file.write_bytes(data)
    return read_document(file, "a.pdf")


def lines(x: float, y: float, texts: list[str], size: float = 11) -> list[tuple[float, float, float, str]]:
    return [(x, y + 15 * at, size, text) for at, text in enumerate(texts)]


def ruled(x: list[float], y: list[float]) -> list[tuple[float, float, float, float]]:
    return [(x[0], at, x[-1], at) for at in y] + [(at, y[0], at, y[-1]) for at in x]


def test_chinese_without_an_embedded_font(tmp_path: Path):
    sheet = Sheet(
        [(60, 60, 22, "净水器使用手册"), *lines(60, 120, ["本手册适用于型号 AB-2099，安装之前请仔", "细阅读。"])],
        label="iv",
    )
    page = read(tmp_path, pdf([sheet])).pages[0]
    assert (page.label, page.ocr) == ("iv", False)
    title, text = page.blocks
    assert (title.kind, title.text) == ("heading", "净水器使用手册")
    assert text.text == "本手册适用于型号 AB-2099，安装之前请仔细阅读。"
    assert title.box and abs(title.box[0] - 60) < 2 and abs(title.box[1] - 60) < 8 and abs(title.box[2] - 214) < 4


def test_two_columns_are_read_one_after_the_other_and_running_heads_once(tmp_path: Path):
    sheets = [
        Sheet(
            [
                (60, 30, 9, "内部资料"),
                (280, 800, 9, f"第 {number} 页"),
                (60, 80, 11, "这一行横跨整个页面，" * 4),
                *lines(60, 120, [f"左栏第{at}行的文字写得很满很满，" for at in range(6)]),
                *lines(310, 127, [f"右栏第{at}行的文字也写得很满，，" for at in range(6)]),
            ]
        )
        for number in (1, 2, 3)
    ]
    pages = read(tmp_path, pdf(sheets)).pages
    for page in pages:
        text = "".join(block.text for block in page.blocks if block.kind == "text")
        places = [text.index(part) for part in ("横跨", "左栏第0", "左栏第5", "右栏第0", "右栏第5")]
        assert places == sorted(places)
    assert [[block.text for block in page.blocks if block.kind == "note"] for page in pages] == [
        ["内部资料", "第 1 页"],
        [],
        [],
    ]


def test_a_ruled_table_over_two_pages(tmp_path: Path):
    x, y = [60.0, 160.0, 260.0, 460.0], [100.0 + 40 * at for at in range(5)]
    head = [(65, 110, 11, "型号"), (165, 104, 11, "持股比"), (165, 118, 11, "例(%)"), (265, 110, 11, "备注")]
    first = Sheet(
        [
            (60, 80, 11, "单位：万元"),
            *head,
            *[(65, 110 + 40 * at, 11, f"A{at}") for at in (1, 2, 3)],
            *[(165, 110 + 40 * at, 11, f"{at}.5") for at in (1, 2, 3)],
            (265, 144, 11, "这一格写了"),
            (265, 158, 11, "两行"),
        ],
        ruled(x, y),
    )
    second = Sheet(
        [(65, 110 + 40 * at, 11, f"B{at}") for at in range(4)] + [(165, 110 + 40 * at, 11, "7") for at in range(4)],
        ruled(x, y),
    )
    pages = read(tmp_path, pdf([first, second])).pages
    assert [(block.kind, block.text) for block in pages[0].blocks] == [
        ("text", "单位：万元"),
        ("table", "型号 | 持股比例(%) | 备注"),
        ("row", "型号: A1; 持股比例(%): 1.5; 备注: 这一格写了两行"),
        ("row", "型号: A2; 持股比例(%): 2.5"),
        ("row", "型号: A3; 持股比例(%): 3.5"),
    ]
    assert pages[1].blocks[1].text == "型号: B0; 持股比例(%): 7" and pages[1].blocks[1].box == (60, 100, 460, 140)


def test_a_table_without_lines(tmp_path: Path):
    rows = [("部门", "人数", "预算"), ("研发部", "24", "380.5"), ("市场部", "11", "120"), ("财务部", "6", "75")]
    texts = [(60 + 120 * c, 100 + 20 * r, 11, cell) for r, row in enumerate(rows) for c, cell in enumerate(row)]
    blocks = read(tmp_path, pdf([Sheet(texts)])).pages[0].blocks
    assert [block.text for block in blocks] == [
        "部门 | 人数 | 预算",
        "部门: 研发部; 人数: 24; 预算: 380.5",
        "部门: 市场部; 人数: 11; 预算: 120",
        "部门: 财务部; 人数: 6; 预算: 75",
    ]


def test_boxes_of_a_turned_page_are_those_of_what_is_seen(tmp_path: Path):
    page = read(tmp_path, pdf([Sheet([(60, 100, 20, "旋转的页面")], rotate=90)])).pages[0]
    assert page.size == (842, 595)
    left, top, right, bottom = page.blocks[0].box or (0, 0, 0, 0)
    assert 842 - 125 < left < right < 842 - 95 and 55 < top < bottom < 165


def scan() -> tuple[bytes, tuple[int, int]]:
    image = Image.open(EXAMPLES / "page-zh.png").convert("RGB")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue(), image.size


def test_pages_without_readable_text_are_read_from_their_pictures_which_is_said(tmp_path: Path):
    jpeg, size = scan()
    nonsense = [(50.0, 50 + 15 * at, 11, "What the font says is not what one sees") for at in range(5)]
    good = Sheet(lines(60, 100, ["这一页的文字是好的，不需要识别，", "所以它不会被当作图片来读取。"]))
    stamp = Sheet([(60, 60, 11, "样稿")], jpeg=jpeg, size=size)
    document = read(tmp_path, pdf([good, stamp]))
    assert [page.ocr for page in document.pages] == [False, True]
    assert document.notes == (("ocr", {"pages": "2"}),)
    lied = read(tmp_path, pdf([Sheet(nonsense, jpeg=jpeg, size=size)], lies=True))
    assert lied.pages[0].ocr
    for page in (document.pages[1], lied.pages[0]):
        assert "校园菜园收成报告" in page.text and "番茄大丰收" in page.text
    assert all(block.box and block.box[2] <= 595 and block.box[3] <= 842 for block in lied.pages[0].blocks)


def test_the_picture_of_a_page_shows_its_ruled_table_where_the_boxes_are(tmp_path: Path):
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf([Sheet(), Sheet([(60, 60, 11, "表")], ruled([100.0, 200.0, 300.0], [200.0, 240.0, 280.0]))]))
    image = Image.open(io.BytesIO(page_picture(file, "a.pdf", 2, width=595))).convert("L")
    assert image.size == (595, 842)
    assert image.getpixel((150, 240)) < 200 and image.getpixel((150, 220)) == 255
    with pytest.raises(DamagedDocument):
        page_picture(file, "a.pdf", 3)


def test_characters_that_pdfium_gives_in_halves_are_whole(tmp_path: Path):
    page = read(tmp_path, pdf([Sheet([(60, 60, 11, "申请人张𬭎，电话如下。"), (60, 90, 11, "前半\ud842")])])).pages[0]
    assert "".join(block.text for block in page.blocks) == "申请人张𬭎，电话如下。前半\ufffd"


@pytest.mark.parametrize("data", [b"%PDF-1.7\nnothing", pdf([Sheet([(60, 60, 11, "完整")])])[:300]])
def test_a_broken_file_is_said_to_be_one(tmp_path: Path, data):
    with pytest.raises(DamagedDocument):
        read(tmp_path, data)


def test_an_encrypted_file_is_said_to_be_one(tmp_path: Path):
    body = pdf([Sheet([(60, 60, 11, "秘密")])])
    lock = b"/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -3904 /O <%s> /U <%s> >> /ID [<00> <00>] /Root" % (
        b"a1" * 32,
        b"b2" * 32,
    )
    with pytest.raises(EncryptedDocument):
        read(tmp_path, body.replace(b"/Root", lock))
