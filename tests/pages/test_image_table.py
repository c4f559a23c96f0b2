"""One question over many pictures: rows come as they are answered, and nothing is lost with the page."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from llm.chat import picture_table
from llm.jobs import jobs


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def answered(data_folder, monkeypatch) -> Iterator[list[str]]:
    asked: list[str] = []

    def answer(path, name, model_id, question, cancel):
        asked.append(name)
        if name == "wait.png":
            cancel.wait(60)
            raise picture_table.Cancelled(what=name)
        picture_table.take_in(path.read_bytes(), name)
        return f"{question} {name}"

    monkeypatch.setattr(picture_table, "_answer", answer)
    yield asked


def test_each_picture_has_its_row_and_one_that_is_none_says_why(answered):
    given = [("a.png", png("red")), ("b.png", b"no picture"), ("c.png", png("blue"))]
    record = jobs().start("image.table", "What?", {"model": "m", "question": "What?"}, inputs=given)
    rows = jobs().wait(record.id, 60).result["rows"]
    assert [row["picture"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert rows[0]["answer"] == "What? a.png" and rows[2]["answer"] == "What? c.png"
    assert rows[1]["error_code"] == "not_a_picture"


def test_what_was_answered_stays_when_it_is_paused_and_is_not_asked_again(answered, monkeypatch):
    given = [("a.png", png("red")), ("wait.png", png("green")), ("c.png", png("blue"))]
    record = jobs().start("image.table", "What?", {"model": "m", "question": "What?"}, inputs=given)
    while answered != ["a.png", "wait.png"]:
        jobs().wait(record.id, 0.01)
    jobs().pause(record.id)
    assert jobs().wait(record.id, 60).state == "paused"
    assert [row["picture"] for row in jobs().get(record.id).result["rows"]] == ["a.png"]
    monkeypatch.setattr(picture_table, "_answer", lambda path, name, *rest: name)
    jobs().resume(record.id)
    assert [row["answer"] for row in jobs().wait(record.id, 60).result["rows"]] == [
        "What? a.png",
        "wait.png",
        "c.png",
    ]


def _page() -> None:
    from ui.image.table import table

    table(None)


def test_the_page_shows_the_last_table_after_a_reload(answered):
    given = [("a*b.png", png("red")), ("b.png", b"no picture")]
    record = jobs().start("image.table", "What?", {"model": "m", "question": "What?"}, inputs=given)
    jobs().wait(record.id, 60)
    page = AppTest.from_function(_page).run()
    assert not page.exception
    shown = page.dataframe[0].value
    assert list(shown["Picture"]) == ["a*b.png", "b.png"]
    assert shown["Answer"][0] == "What? a*b.png" and "is not a picture" in shown["Answer"][1]
    assert shown["picture"][0].startswith("data:image/jpeg;base64,") and shown["picture"][1] == ""
