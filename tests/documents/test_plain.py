"""Text of every encoding, Markdown and code as pages of blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.documents.encodings import decoded
from llm.documents.errors import DocumentUnreadable, EmptyDocument, UnknownDocument, WrongEncoding
from llm.documents.reading import read_document

SIMPLIFIED = "大熊猫主要栖息在中国四川、陕西和甘肃的山区。\n它们每天要花十二个小时吃竹子。\n"
TRADITIONAL = "貓熊主要棲息在中國四川、陝西和甘肅的山區。\n牠們每天要花十二個小時吃竹子。\n"
JAPANESE = "ジャイアントパンダは中国の山に住んでいます。一日に十二時間、竹を食べます。\n"
KOREAN = "대왕판다는 중국 쓰촨성의 산에 산다. 하루에 열두 시간 동안 대나무를 먹는다.\n"
FRENCH = "Le panda géant vit dans les forêts d'altitude ; il mange du bambou à longueur de journée, été comme hiver.\n"


@pytest.mark.parametrize(
    "text, encoding",
    [(SIMPLIFIED, name) for name in ("utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be")]
    + [(TRADITIONAL, name) for name in ("utf-8", "big5", "gb18030", "utf-16", "utf-32")]
    + [(JAPANESE, "shift_jis"), (KOREAN, "euc_kr"), (FRENCH, "cp1252"), (FRENCH, "utf-8")]
    + [
        ("你好，世界", "gb18030"),
        ("姓名,电话\n张三,13800138000\n", "gb18030"),
        ("姓名,電話\n張三,0912345678\n", "big5"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_is_in(text, encoding):
    assert decoded(text.encode(encoding), "a.txt")[0] == text


def test_the_encoding_is_told_and_can_be_chosen(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_bytes(SIMPLIFIED.encode("gb18030"))
    assert read_document(file, "a.txt").encoding == "gb18030"
    assert "大熊猫" not in read_document(file, "a.txt", encoding="cp1252").text
    with pytest.raises(WrongEncoding):
        read_document(file, "a.txt", encoding="utf-8")
    with pytest.raises(WrongEncoding):
        read_document(file, "a.txt", encoding="no such encoding")


def test_chapters_and_paragraphs_of_plain_text(tmp_path: Path):
    file = tmp_path / "novel.txt"
    file.write_text("第一章 开端\r\n\r\n很久以前。\r\n有一只熊猫。\r\n\r\n第二章 结束\r\n它吃竹子。", encoding="utf-8")
    blocks = read_document(file, "novel.txt").pages[0].blocks
    assert [(block.kind, block.text) for block in blocks] == [
        ("heading", "第一章 开端"),
        ("text", "很久以前。\n有一只熊猫。"),
        ("heading", "第二章 结束"),
        ("text", "它吃竹子。"),
    ]


def test_markdown(tmp_path: Path):
    file = tmp_path / "a.md"
    file.write_text(
        "---\ntitle: x\n---\n# 产品\n\n说明\n第二行\n\n"
        "| 型号 | 价格 |\n|---|---|\n| A\\|1 | 20 |\n| B2 | 30 |\n\n```sh\n# no heading\n\nls\n```\n"
        "Second\n------\ntext",
        encoding="utf-8",
    )
    blocks = read_document(file, "a.md").pages[0].blocks
    assert [(block.kind, block.level, block.text) for block in blocks] == [
        ("heading", 1, "产品"),
        ("text", 0, "说明\n第二行"),
        ("table", 0, "型号 | 价格"),
        ("row", 0, "型号: A|1; 价格: 20"),
        ("row", 0, "型号: B2; 价格: 30"),
        ("code", 0, "# no heading\n\nls"),
        ("heading", 2, "Second"),
        ("text", 0, "text"),
    ]


def test_pages_of_a_long_text_are_stretches_of_lines_and_come_one_by_one(tmp_path: Path):
    file = tmp_path / "long.txt"
    file.write_text("".join(f"Line {number}.\n\n" for number in range(450)), encoding="utf-8")
    seen = []
    document = read_document(file, "long.txt", on_page=seen.append)
    assert [page.label for page in document.pages] == ["1–199", "201–399", "401–599", "601–799", "801–899"]
    assert tuple(seen) == document.pages


@pytest.mark.parametrize(
    "name, data, error",
    [
        ("a.txt", b"", EmptyDocument),
        ("a.txt", b" \n \n", EmptyDocument),
        ("a.bin", bytes(range(256)) * 8, UnknownDocument),
        ("a.txt", b"\x7fELF\x02\x01\x00" + bytes(60) + b"code" * 99, DocumentUnreadable),
    ],
)
def test_what_is_no_text_is_refused_with_a_reason(tmp_path: Path, name, data, error):
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(error, match=name):
        read_document(file, name)


def test_what_is_no_file_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "gone.txt"):
        with pytest.raises(DocumentUnreadable):
            read_document(path, "a.txt")
