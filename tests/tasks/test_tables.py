"""Tables: columns of any encoding, rows that fail, resuming after a kill, and how right the answers are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm.errors import NoSuchColumn, TableTooLong
from llm.jobs import JobRecord, jobs
from llm.runtime import handles
from llm.tasks import tables
from llm.vision.sheet import as_excel
from tests.tasks import text_models as tiny

ROWS = [["text", "label"], ["好好", "good"], ["坏", "Bad "], ["", "bad"], ["好坏坏", "good"]]


@pytest.fixture
def done(data_folder: Path, tmp_path: Path) -> Iterator[Callable[..., JobRecord]]:
    """`done(data, name)`: the job over the column `text` of a table, with a tiny classifier."""
    folder = tiny.classifier(tmp_path / "m", {"好": "good", "坏": "bad"})

    def it(data: bytes, name: str = "t.csv", **more: object) -> JobRecord:
        params = {"task": "text-classification", "model": str(folder), "columns": ["text"], "gold": "label", **more}
        record = jobs().wait(jobs().start("tasks.table", name, params, inputs=[(name, data)]).id, 60)
        assert record is not None
        return record

    yield it
    handles.registry().close_all()


def as_csv(encoding: str, mark: str = ",") -> bytes:
    return "\r\n".join(mark.join(row) for row in ROWS).encode(encoding)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (as_csv("gb18030"), "t.csv"),
        (as_csv("utf-8-sig", ";"), "t.csv"),
        (as_csv("utf-16", "\t"), "t.txt"),
        (as_excel(ROWS), "t.xlsx"),
    ],
)
def test_a_column_of_any_encoding(done: Callable[..., JobRecord], data: bytes, name: str) -> None:
    job = done(data, name)
    assert (job.state, job.result) == ("done", {"done": 3, "failed": 1})
    rows = tables.rows_of(jobs().folder_of(job.id))
    assert [row.get("said") for row in rows] == ["good", "bad", None, "bad"]
    assert rows[2]["error_code"] == "blank_text" and rows[2]["row"] == 4
    found = tables.compared(rows)
    assert found is not None and (found.count, found.right, found.labels) == (3, 2, ("Bad", "good"))
    assert found.confusion == ((1, 0), (1, 1)) and found.f1 == pytest.approx((2 / 3, 2 / 3))
    lines = tables.table_as_csv(rows, ["text"]).decode("utf-8-sig").splitlines()
    assert lines[0] == "row,text,gold,answer,score,error" and lines[1].startswith("2,好好,good,good,0.")


def test_a_missing_column_is_named(done: Callable[..., JobRecord]) -> None:
    job = done(as_csv("utf-8"), columns=["review"])
    assert (job.state, job.error_code) == ("failed", "no_such_column")
    with pytest.raises(NoSuchColumn, match="text, label"):
        tables.Table(("text", "label"), ()).column("review")


def test_100_000_rows_are_read_stopped_and_gone_on_with(done: Callable[..., JobRecord], tmp_path: Path) -> None:
    data = ("text,label\n" + "好,good\n" * 100_000).encode()
    params = done(as_csv("utf-8")).params | {"gold": ""}
    begun = jobs().start("tasks.table", "Long", params, inputs=[("long.csv", data)])
    folder = jobs().folder_of(begun.id)
    until = time.monotonic() + 60
    while not tables.rows_of(folder, 5) and time.monotonic() < until:
        time.sleep(0.05)
    jobs().cancel(begun.id)
    stopped = jobs().wait(begun.id, 60)
    assert stopped is not None and stopped.state == "cancelled" and stopped.total == 100_000
    had = len(tables.rows_of(folder))
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"row": 9')  # what a kill leaves
    jobs().resume(begun.id)
    while len(tables.rows_of(folder)) < had + 5 and time.monotonic() < until:
        time.sleep(0.05)
    jobs().pause(begun.id)
    paused = jobs().wait(begun.id, 60)
    rows = tables.rows_of(folder)
    assert paused is not None and paused.state == "paused" and len(rows) >= had + 5
    assert [row["row"] for row in rows] == list(range(2, len(rows) + 2))


def test_more_rows_than_can_be_held_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 2)
    (tmp_path / "t.csv").write_text("text\na\nb\nc\n")
    with pytest.raises(TableTooLong, match="more than 2 rows"):
        tables.read_table(tmp_path / "t.csv", "t.csv")
    (tmp_path / "empty.csv").write_text("\n\n")
    assert not tables.read_table(tmp_path / "empty.csv", "empty.csv").rows
