"""HTML, books, mail, JSON, subtitles and recordings."""

from __future__ import annotations

import io
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from llm.documents.document import Document
from llm.documents.errors import DamagedDocument, NeedsSpeechModel
from llm.documents.reading import read_document


def read(tmp_path: Path, name: str, data: bytes | str) -> Document:
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_document(tmp_path / name, name)


def shown(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for page in document.pages for block in page.blocks]


PAGE = """<!DOCTYPE html><html><head><meta charset="gb2312"><title>窗口</title><style>p {}</style></head><body>
<nav>首页 | 关于</nav><h1>净水器 <b>手册</b></h1><script>alert('x')</script>
<p>第一段，<a href="http://elsewhere.invalid/">链接</a>
在这里。<br>换行</p><p style="display: none">看不见的命令</p><div hidden><p>也看不见</p></div>
<ul><li>一</li><li>二 <img src="http://elsewhere.invalid/a.png" alt="图"></li></ul>
<table><caption>价格表</caption><tr><th rowspan=2>型号</th><th>价格</th></tr><tr><td>单价</td></tr>
<tr><td>A1<td>20<tr><td>A2<td><p>30</p><p>元</p></td></tr></table>
<table><tr><td><table><tr><td>x</td><td>y</td></tr><tr><td>1</td><td>2</td></tr></table></td><td>旁边</td></tr></table>
<pre>  a = 1
  b = 2</pre>&lt;完&gt;</body></html>"""


def test_html_as_it_is_seen(tmp_path: Path):
    document = read(tmp_path, "a.html", PAGE.encode("gb18030"))
    assert shown(document) == [
        ("heading", "净水器 手册"),
        ("text", "第一段，链接 在这里。\n换行"),
        ("text", "• 一"),
        ("text", "• 二 图"),
        ("caption", "价格表"),
        ("table", "型号 | 价格"),
        ("row", "型号; 价格: 单价"),
        ("row", "型号: A1; 价格: 20"),
        ("row", "型号: A2; 价格: 30 元"),
        ("table", "x | y"),
        ("row", "x: 1; y: 2"),
        ("text", "旁边"),
        ("code", "  a = 1\n  b = 2"),
        ("text", "<完>"),
    ]
    assert document.encoding == "gb18030"


def test_a_book_chapter_by_chapter(tmp_path: Path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", '<c><rootfile full-path="OEBPS/b.opf"/></c>')
        archive.writestr(
            "OEBPS/b.opf",
            '<p><manifest><item id="b" href="two.xhtml"/><item id="a" href="o%20ne.xhtml"/></manifest>'
            '<spine><itemref idref="a"/><itemref idref="b"/><itemref idref="gone"/></spine></p>',
        )
        archive.writestr("OEBPS/o ne.xhtml", "<html><body><h1>第一章</h1><p>开始&nbsp;了</p></body></html>")
        archive.writestr("OEBPS/two.xhtml", "<html><body><p>没有标题</p></body></html>")
    pages = read(tmp_path, "a.epub", file.getvalue()).pages
    assert [(page.number, page.label, page.text) for page in pages] == [
        (1, "第一章", "第一章\n开始 了"),
        (2, "2", "没有标题"),
    ]


def test_mail_with_an_attachment(tmp_path: Path):
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["Date"] = "报价单", "张三 <a@example.com>", "Mon, 04 Mar 2024 10:00:00 +0800"
    mail.set_content("您好：\n\n价格是 20 元。喆\n", charset="gb18030")
    mail.add_alternative("<p>您好</p>", subtype="html")
    mail.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="报价.pdf")
    data = mail.as_bytes().replace(b'charset="gb18030"', b'charset="gb2312"')
    texts = [text for _, text in shown(read(tmp_path, "a.eml", data))]
    assert texts[0] == "报价单" and "From: 张三 <a@example.com>" in texts[1]
    assert texts[2:] == ["您好：", "价格是 20 元。喆", "报价.pdf"]


def test_json_records_notebooks_and_lines(tmp_path: Path):
    records = [{"name": "张三", "home": {"city": "北京"}, "tags": ["a", "b"]}, {"name": "李四", "age": None}]
    for name, data in (("a.json", json.dumps(records)), ("a.jsonl", "\n".join(map(json.dumps, records)))):
        assert shown(read(tmp_path, name, data)) == [
            ("row", "name: 张三; home.city: 北京; tags: a, b"),
            ("row", "name: 李四"),
        ]
    notebook = {
        "nbformat": 4,
        "cells": [
            {"cell_type": "markdown", "source": ["# 标题\n", "文字"]},
            {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]},
        ],
    }
    assert shown(read(tmp_path, "a.ipynb", json.dumps(notebook))) == [
        ("heading", "标题"), ("text", "文字"), ("code", "1 + 1"), ("text", "2"),
    ]  # fmt: skip
    with pytest.raises(DamagedDocument):
        read(tmp_path, "a.json", "{not json")
    with pytest.raises(DamagedDocument):
        read(tmp_path, "a.json", "[" * 200_000)


def test_hearths_own_conversations_and_transcripts(tmp_path: Path):
    conversation = {
        "title": "熊猫",
        "messages": [
            {"role": "user", "parts": [{"type": "text", "text": "吃什么？"}, {"type": "image", "sha256": "x"}]},
            {"role": "assistant", "parts": [{"type": "text", "text": "竹子。"}]},
        ],
    }
    exported = {"format": "hearth-conversations", "version": 1, "conversations": [conversation]}
    page = read(tmp_path, "a.json", json.dumps(exported)).pages[0]
    assert (page.label, page.text) == ("熊猫", "熊猫\nuser: 吃什么？\nassistant: 竹子。")
    segments = [{"start": 0.5, "end": 2.0, "text": "你好"}, {"start": 130.0, "end": 131.0, "text": "再见"}]
    pages = read(tmp_path, "b.json", json.dumps({"text": "…", "segments": segments})).pages
    assert [(page.label, page.start_s, page.text) for page in pages] == [
        ("0:00:00", 0.5, "你好"),
        ("0:02:10", 130, "再见"),
    ]


@pytest.mark.parametrize(
    "name, data",
    [
        ("a.srt", "1\n00:00:01,500 --> 00:00:03,000\n<i>你好</i>\n世界\n\n2\n00:02:00,000 --> 00:02:02,000\n再见\n"),
        ("a.vtt", "WEBVTT\n\n00:01.500 --> 00:03.000 align:left\n你好\n世界\n\n02:00.000 --> 02:02.000\n<v A>再见\n"),
        ("a.lrc", "[ti:歌]\n[00:01.5]你好 世界\n[02:00.00]再见\n"),
        (
            "a.ass",
            "[Events]\nDialogue: 0,0:00:01.50,0:00:03.00,D,,0,0,0,,{\\b1}你好\\N世界\n"
            "Dialogue: 0,0:02:00.00,0:02:02.00,D,,0,0,0,,再见\n",
        ),
    ],
)
def test_subtitles_by_time(tmp_path: Path, name, data):
    pages = read(tmp_path, name, data).pages
    assert [(page.start_s, page.label, page.text) for page in pages] == [
        (1.5, "0:00:01", "你好 世界"),
        (120.0, "0:02:00", "再见"),
    ]


def test_a_recording_is_written_down_by_whoever_can(tmp_path: Path):
    (tmp_path / "a.mp3").write_bytes(b"sound")
    with pytest.raises(NeedsSpeechModel):
        read_document(tmp_path / "a.mp3", "a.mp3")
    document = read_document(
        tmp_path / "a.mp3", "a.mp3", transcribe=lambda path, cancel: [(0.0, 4.0, "你好"), (70.0, 75.0, "再见")]
    )
    assert document.kind == "recording" and [page.label for page in document.pages] == ["0:00:00", "0:01:10"]
