"""People's files become rows, and what is none is told by its number."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from llm.errors import ModelError
from llm.finetune.files import read_file

ADGEN = {"content": "类型#裙", "summary": "一条裙子"}
LAYOUTS = {
    "alpaca": {"instruction": "翻译", "input": "猫", "output": "cat"},
    "sharegpt": {"conversations": [{"from": "human", "value": "翻译\n猫"}, {"from": "gpt", "value": "cat"}]},
    "messages": {"messages": [{"role": "user", "content": "翻译\n猫"}, {"role": "assistant", "content": "cat"}]},
    "chatglm": {"prompt": "翻译\n猫", "response": "cat", "history": [["你好", "您好"]]},
}


def xlsx(rows: list[list[str]]) -> bytes:
    cells = "".join(
        f"<row r='{n}'>"
        + "".join(f"<c r='{'AB'[c]}{n}' t='inlineStr'><is><t>{v}</t></is></c>" for c, v in enumerate(row))
        + "</row>"
        for n, row in enumerate(rows, start=1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("[Content_Types].xml", f"<Types xmlns='{package}/content-types'/>")
        file.writestr(
            "xl/workbook.xml",
            f"<workbook xmlns='{main}' xmlns:r='{relations}'><sheets><sheet name='S' sheetId='1' r:id='rId1'/></sheets>"
            "</workbook>",
        )
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            f"<Relationships xmlns='{package}/relationships'><Relationship Id='rId1' Type='{relations}/worksheet' "
            "Target='worksheets/sheet1.xml'/></Relationships>",
        )
        file.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet xmlns='{main}'><sheetData>{cells}</sheetData></worksheet>"
        )
    return made.getvalue()


def pairs(name: str, data: bytes) -> list[tuple[str, str]]:
    return [(row.prompt, row.response) for row in read_file(name, data)[0]]


def test_an_excel_of_q_and_a(data_folder: object) -> None:
    data = xlsx([["Q", "A"], ["谁是镇长？", "艾达"], ["", ""], ["没有答案", ""]])
    assert pairs("问答.xlsx", data) == [("谁是镇长？", "艾达")]
    assert [(p.number, p.code) for p in read_file("x.xlsx", data)[1]] == [(4, "no_answer")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_csv_in_any_encoding(encoding: str) -> None:
    text = '问题,答案\n图书馆什么时候开门？,"周二到周日，九点"\n学校在哪里？,在河边\n'
    assert pairs("a.csv", text.encode(encoding))[0] == ("图书馆什么时候开门？", "周二到周日，九点")


def test_a_table_without_known_names_is_question_and_answer() -> None:
    assert pairs("a.csv", b"Who?,Ada\nWhere?,Here\n") == [("Who?", "Ada"), ("Where?", "Here")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_row(layout: str) -> None:
    lines = json.dumps(LAYOUTS[layout], ensure_ascii=False).encode()
    assert pairs("a.jsonl", lines) == pairs("a.json", b"[" + lines + b"]") == [("翻译\n猫", "cat")]
    rows, _ = read_file("a.jsonl", lines)
    assert len(rows[0].messages) == (4 if layout == "chatglm" else 2)


def test_bad_lines_are_told_by_number_and_the_rest_is_taken() -> None:
    lines = "\n".join([json.dumps(ADGEN), "{broken", "[1]", '{"prompt": "x"}', "", '{"text": "Plain."}'])
    rows, problems = read_file("a.jsonl", lines.encode())
    assert [row.response for row in rows] == ["一条裙子", "Plain."]
    assert {p.number: p.code for p in problems} == {2: "unreadable", 3: "unreadable", 4: "no_answer"}


def test_a_file_that_is_none_ends_in_a_sentence() -> None:
    with pytest.raises(ModelError):
        read_file("a.xlsx", b"PK\x03\x04 broken")


def test_an_excel_of_the_old_kind_reads_as_people_see_it() -> None:
    data = (Path(__file__).parent / "town.xls").read_bytes()
    assert pairs("问答.xls", data) == [("谁是镇长？", "艾达"), ("镇上有几口井？", "12"), ("桥哪天建成？", "1987-05-03")]
    assert [(p.number, p.code) for p in read_file("x.xls", data)[1]] == [(6, "no_answer")]


def test_a_table_is_what_its_bytes_say() -> None:
    text = "问题\t答案\n谁是镇长？\t艾达\n"
    assert pairs("导出.xls", text.encode("gb18030")) == [("谁是镇长？", "艾达")]
    assert pairs("a.xls", xlsx([["Q", "A"], ["Who?", "Ada"]])) == [("Who?", "Ada")]


PAIR = {"role": "user", "content": "Who?"}
PREFERENCES = [
    {"input": {"messages": [PAIR]}, "preferred_output": [{"role": "assistant", "content": "Ada"}],
     "non_preferred_output": [{"role": "assistant", "content": "Bob"}]},
    {"conversations": [{"from": "human", "value": "Who?"}], "chosen": {"from": "gpt", "value": "Ada"},
     "rejected": {"from": "gpt", "value": "Bob"}},
    {"prompt": "Who?", "chosen": "Ada", "rejected": "Bob"},
    {"messages": [PAIR, {"role": "assistant", "content": "Ada"}], "rejected": "Bob"},
]  # fmt: skip


@pytest.mark.parametrize("row", PREFERENCES)
def test_pairs_come_in_every_layout(row: dict[str, object]) -> None:
    rows, problems = read_file("a.jsonl", json.dumps(row).encode())
    assert [(r.prompt, r.response, r.rejected) for r in rows] == [("Who?", "Ada", "Bob")] and not problems


def test_rows_in_a_frame_are_found() -> None:
    assert pairs("a.json", json.dumps({"version": 1, "data": [ADGEN]}).encode()) == [("类型#裙", "一条裙子")]


OLD = (Path(__file__).parent / "town.xls").read_bytes()
BROKEN: dict[str, tuple[str, bytes]] = {
    "empty csv": ("a.csv", b""),
    "blank text": ("a.txt", b" \n \n"),
    "zip with nothing": ("a.xlsx", b"PK\x05\x06" + bytes(18)),
    "half an xlsx": ("a.xlsx", xlsx([["Q", "A"], ["Who?", "Ada"]])[:400]),
    "half an xls": ("a.xls", OLD[:1500]),
    "a web page as xls": ("a.xls", b"<html><table><tr><td>Q</td></tr></table></html>"),
    "an xlsx as jsonl": ("a.jsonl", xlsx([["Q", "A"]])),
    "an xls as json": ("a.json", OLD),
    "protected xlsx": ("a.xlsx", OLD[:512] + "EncryptedPackage".encode("utf-16-le") + bytes(512)),
    "a picture as csv": ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "a picture as text": ("a.txt", b"\xff\xd8\xff\xe0" + bytes(range(256))),
    "only a head": ("a.csv", b"question,answer\n"),
    "one column": ("a.csv", b"question\nWho?\nWhere?\n"),
    "broken json": ("a.json", b'[{"prompt": "Who?", "response": "Ada"'),
    "numbers": ("a.json", b"[1, 2, 3]"),
    "no answers": ("a.jsonl", b'{"prompt": "Who?"}\n{"prompt": "Where?"}\n'),
    "unknown names": ("a.jsonl", b'{"x": "Who?", "y": "Ada"}\n'),
    "unknown speaker": ("a.jsonl", b'{"messages": [{"role": "ghost", "content": "x"}]}\n'),
    "ends with a question": ("a.jsonl", b'{"messages": [{"role": "user", "content": "x"}]}\n'),
    "weight": (
        "a.jsonl",
        b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]}',
    ),
    "deep": ("a.json", b"[" * 100_000),
    "history of words": ("a.jsonl", b'{"prompt": "x", "response": "y", "history": "z"}\n'),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_ends_in_a_sentence_or_its_row_numbers(case: str) -> None:
    name, data = BROKEN[case]
    try:
        rows, problems = read_file(name, data)
    except ModelError as error:
        assert name in str(error) and "Error" not in str(error), "a sentence, and no library's words"
        return
    assert not rows and (problems or case == "only a head")
    assert all(problem.number > 0 for problem in problems)
