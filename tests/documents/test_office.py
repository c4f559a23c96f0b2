"""Word, Excel, PowerPoint and CSV files, written by the usual libraries and read here."""

from __future__ import annotations

import datetime
from pathlib import Path

import docx
import openpyxl
import pptx
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from openpyxl.styles import Font
from pptx.util import Cm

from llm.documents.document import Block, Document
from llm.documents.reading import read_document


def shown(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for page in document.pages for block in page.blocks]


def test_word_body_in_order_with_tables_boxes_and_notes(tmp_path: Path):
    file = docx.Document()
    file.add_heading("净水器", 0)
    file.add_heading("参数", 1)
    file.add_paragraph("单位：万元")
    table = file.add_table(rows=3, cols=3)
    for at, text in enumerate(["型号", "价格", "备注", "A1", "20", "持股比\n例", "A2", "30", ""]):
        table.cell(at // 3, at % 3).text = text
    table.cell(1, 2).merge(table.cell(2, 2))
    inner = table.cell(2, 0).add_table(2, 2)
    for at, text in enumerate(["尺寸", "颜色", "大", "红"]):
        inner.cell(at // 2, at % 2).text = text
    box = (
        f'<w:r {nsdecls("w")} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:AlternateContent>'
        "<mc:Choice><w:drawing><w:txbxContent><w:p><w:r><w:t>框里的字</w:t></w:r></w:p></w:txbxContent></w:drawing>"
        "</mc:Choice><mc:Fallback><w:pict><w:txbxContent><w:p><w:r><w:t>框里的字</w:t></w:r></w:p></w:txbxContent></w:pict>"
        "</mc:Fallback></mc:AlternateContent></w:r>"
    )
    paragraph = file.add_paragraph("表后的一段")
    paragraph._p.append(parse_xml(box))
    deleted = f"<w:del {nsdecls('w')}><w:r><w:delText>删掉的字</w:delText></w:r></w:del>"
    paragraph._p.append(parse_xml(deleted))
    file.sections[0].header.paragraphs[0].text = "内部资料"
    file.save(str(tmp_path / "a.docx"))

    document = read_document(tmp_path / "a.docx", "a.docx")
    assert shown(document) == [
        ("heading", "净水器"),
        ("heading", "参数"),
        ("text", "单位：万元"),
        ("table", "型号 | 价格 | 备注"),
        ("row", "型号: A1; 价格: 20; 备注: 持股比例"),
        ("row", "型号: A2 尺寸: 大; 颜色: 红; 价格: 30; 备注: 持股比例"),
        ("text", "表后的一段"),
        ("text", "框里的字"),
        ("note", "内部资料"),
    ]
    assert [page.label for page in document.pages] == [""]


def test_pages_of_a_word_file_are_those_that_word_saw_last(tmp_path: Path):
    file = docx.Document()
    for number in range(3):
        run = file.add_paragraph(f"第{number}段").add_run()
        if number:
            run._r.append(parse_xml(f"<w:lastRenderedPageBreak {nsdecls('w')}/>"))
    file.save(str(tmp_path / "a.docx"))
    pages = read_document(tmp_path / "a.docx", "a.docx").pages
    assert [(page.number, page.label, page.text) for page in pages] == [
        (1, "1", "第0段"), (2, "2", "第1段"), (3, "3", "第2段"),
    ]  # fmt: skip


def test_a_workbook_is_read_row_by_row(tmp_path: Path):
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "销售"
    sheet.append(["2024年度销售表"])
    sheet.merge_cells("A1:D1")
    sheet.append(["地区", "收入", None, "日期"])
    sheet.append([None, "线上", "线下", None])
    sheet.merge_cells("B2:C2")
    sheet.append(["华东", 12.5, 0.1 + 0.2, datetime.date(2024, 3, 5)])
    sheet.append([None, 7, "=B4+B5", datetime.datetime(2024, 3, 6, 14, 30)])
    sheet.merge_cells("A4:A5")
    sheet["B5"].number_format = "0%"
    sheet["A4"].font = Font(bold=True)
    book.create_sheet("空表")
    many = book.create_sheet("名单")
    many.append(["编号", "姓名"])
    for number in range(5000):
        many.append([f"AB-{number}", f"员工{number}"])
    book.save(tmp_path / "a.xlsx")

    document = read_document(tmp_path / "a.xlsx", "a.xlsx")
    assert [(block.kind, block.text) for block in document.pages[0].blocks] == [
        ("heading", "2024年度销售表"),
        ("table", "地区 | 收入 线上 | 收入 线下 | 日期"),
        ("row", "地区: 华东; 收入 线上: 12.5; 收入 线下: 0.3; 日期: 2024-03-05"),
        ("row", "地区: 华东; 收入 线上: 700%; 收入 线下: =B4+B5; 日期: 2024-03-06 14:30"),
    ]
    labels = [page.label for page in document.pages]
    assert labels[:3] == ["销售 1–5", "名单 1–200", "名单 201–400"] and len(labels) == 27
    rows = [block for page in document.pages[1:] for block in page.blocks if block.kind == "row"]
    assert len(rows) == 5000 and Block("编号: AB-4999; 姓名: 员工4999", "row") in rows


def test_csv_in_the_encoding_and_with_the_marks_that_it_has(tmp_path: Path):
    for name, encoding, mark in (("a.csv", "gb18030", ","), ("b.csv", "utf-16", ";"), ("c.tsv", "utf-8-sig", "\t")):
        rows = [["姓名", "地址"], ["张三", "北京市，海淀区"], ["李四", '"上海"\n浦东']]
        quoted = "\r\n".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
        (tmp_path / name).write_bytes(quoted.encode(encoding))
        assert shown(read_document(tmp_path / name, name)) == [
            ("table", "姓名 | 地址"),
            ("row", "姓名: 张三; 地址: 北京市，海淀区"),
            ("row", '姓名: 李四; 地址: "上海" 浦东'),
        ]


def test_slides_with_tables_and_speakers_notes(tmp_path: Path):
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "季度总结"
    low = slide.shapes.add_textbox(Cm(2), Cm(14), Cm(10), Cm(1))
    low.text_frame.text = "下面的文字"
    high = slide.shapes.add_textbox(Cm(2), Cm(5), Cm(10), Cm(1))
    high.text_frame.text = "上面的文字"
    table = slide.shapes.add_table(2, 2, Cm(2), Cm(8), Cm(10), Cm(3)).table
    for at, text in enumerate(["部门", "人数", "研发", "24"]):
        table.cell(at // 2, at % 2).text = text
    slide.notes_slide.notes_text_frame.text = "这里要讲三分钟"
    show.slides.add_slide(show.slide_layouts[6])
    show.save(str(tmp_path / "a.pptx"))
    pages = read_document(tmp_path / "a.pptx", "a.pptx").pages
    assert [(block.kind, block.text) for block in pages[0].blocks] == [
        ("heading", "季度总结"),
        ("text", "上面的文字"),
        ("table", "部门 | 人数"),
        ("row", "部门: 研发; 人数: 24"),
        ("text", "下面的文字"),
        ("note", "这里要讲三分钟"),
    ]
    assert [page.label for page in pages] == ["1", "2"] and pages[0].size == (720, 540)
