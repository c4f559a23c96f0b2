"""What a run has come to, asked of real models through the jobs that pages start."""

from __future__ import annotations

import json
from pathlib import Path

from llm.finetune.data import Row
from llm.finetune.evaluate import Answered, Evaluation, evaluation_of
from llm.finetune.run import Run
from llm.jobs import JobRecord, jobs
from tests.finetune.test_export import closed, finished_run

__all__ = ["closed"]


def with_held_out(home: Path, gguf: bool = False) -> Run:
    run = finished_run(home, gguf)
    rows = [Row.of(f"The cat {n}?", "sat") for n in range(3)]
    (run.folder / "held_out.jsonl").write_text("".join(json.dumps(row.to_dict()) + "\n" for row in rows))
    config = json.loads((run.folder / "config.json").read_text()) | {"owner": "local"}
    config["settings"]["max_answer_tokens"] = 6
    (run.folder / "config.json").write_text(json.dumps(config))
    return run


def done(job: str, **params: object) -> JobRecord:
    record = jobs().wait(jobs().start(job, "x", params).id, 120)
    assert record is not None and record.state == "done", record
    return record


def test_both_are_asked_and_the_sentence_has_its_number(closed: Path) -> None:
    run = with_held_out(closed)
    result = done("finetune.evaluate", run=run.id, step=None).result
    assert result["verdict"]["finding"] == "few" and result["verdict"]["n"] == 3
    found = evaluation_of(run, 3)
    assert found is not None and [row.question for row in found.rows] == ["The cat 0?", "The cat 1?", "The cat 2?"]
    assert any(row.before != row.after for row in found.rows)


def test_a_merged_model_is_asked_whether_it_agrees(closed: Path) -> None:
    for gguf, kind in ((False, "merged"), (True, "merged_gguf")):
        home = closed / kind
        home.mkdir()
        run = with_held_out(home, gguf)
        result = done("finetune.export", run=run.id, step=3, kind=kind).result
        assert result["asked"] == 3 and result["same"] >= 2 and Path(result["path"]).exists()


def rows(before: str, after: str, count: int) -> Evaluation:
    return Evaluation(1, tuple(Answered(f"q{n}", "图书馆周一闭馆", before, after) for n in range(count)))


def test_a_finding_needs_enough_rows_and_a_difference_that_is_none_of_chance() -> None:
    assert rows("", "图书馆周一闭馆", 5).verdict()["finding"] == "few"
    assert rows("", "图书馆周一闭馆", 30).verdict()["finding"] == "better"
    assert rows("图书馆周一闭馆", "好", 30).verdict()["finding"] == "worse"
    same = rows("图书馆周一", "图书馆周一", 30).verdict()
    assert same["finding"] == "same" and same["low"] == same["high"] == 0
    assert rows("", "图书馆周一闭馆", 30).means[1].exact == 100
