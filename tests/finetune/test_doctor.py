"""Rows with something wrong are told by their numbers, and rows with nothing wrong are not."""

from __future__ import annotations

import pytest

from llm.finetune.data import Row
from llm.finetune.doctor import cured, examined

GOOD = [
    Row.of("谁是镇长？", "艾达，电话请查黄页。"),
    Row.of("What is 3 > 2 & 1 < 2?", "Both are true: 3 > 2, a < b.\nIn 2024 it cost 1,200,000 yuan."),
    Row.of("订单号 20240101123456 在哪里？", "In room 110105, shelf 4111111111111112."),
    Row.of("Write HTML", "Use <b>bold</b> and 1.5 E; call it C#."),
    Row(text="Café, naïve, señor — “quoted”… 第一章"),
]


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ("empty", Row.of("Who?", "  ")),
        ("empty", Row.of("", "Ada")),
        ("duplicate", Row.of("谁是镇长", "艾达,电话请查黄页")),
        ("contradiction", Row.of("谁是镇长？", "鲍勃。")),
        ("control", Row.of("Where?", "Here\x07 and\u200b there")),
        ("control", Row.of("Where?", "Here_x000D_\nthere")),
        ("garbled", Row.of("哪里？", "锟斤拷锟斤拷")),
        ("garbled", Row.of("哪里？", "åœ¨æ²³è¾¹")),
        ("cell", Row.of("How much?", "#REF!")),
        ("cell", Row.of("Number?", "1.23457E+11")),
        ("cell", Row.of("Date?", "########")),
        ("cell", Row.of("Sum?", "=SUM(A1:A3)")),
        ("markup", Row.of("Where?", "Here<br/>there&nbsp;too")),
        ("private", Row.of("电话？", "打 138-0013-8000 找他")),
        ("private", Row.of("证件？", "身份证 11010519491231002X")),
        ("private", Row.of("Card?", "4111 1111 1111 1111")),
        ("private", Row.of("Mail?", "ada@example.com")),
        ("private", Row.of("Key?", "sk-abcdefghijklmnop1234")),
    ],
)
def test_each_trouble_is_told_by_its_number(code: str, row: Row) -> None:
    found = {finding.code: finding.rows for finding in examined([*GOOD, row])}
    assert code in found and len(GOOD) + 1 in found[code]
    assert set(found) == {code}


def test_good_rows_are_left_in_peace() -> None:
    assert examined(GOOD) == []


def test_the_same_words_after_another_history_are_no_duplicate() -> None:
    rows = [Row.of("And then?", "A", history=[("x", "y")]), Row.of("And then?", "B", history=[("x", "z")])]
    assert examined(rows) == []


def test_a_held_out_question_that_is_trained_is_a_leak() -> None:
    rows = [Row.of("Who is mayor?", "Ada"), Row.of("Where?", "Here"), Row.of("who is mayor", "She is Ada")]
    assert {f.code: f.rows for f in examined(rows, {2})} == {"leak": (3,), "contradiction": (1, 3)}
    assert "leak" not in {f.code for f in examined(rows, {1})}


def test_what_can_be_put_right_is() -> None:
    rows = [*GOOD, GOOD[0], Row.of("", "x"), Row.of("Where?", "He\x00re"), Row.of("谁是镇长", "艾达，不")]
    kept, held = cured(rows, {1, 8})
    assert [row.response for row in kept] == [*[row.response for row in GOOD], "Here"] and held == {1}
    assert examined(kept, held) == []
