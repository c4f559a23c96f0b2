"""The code beside an answer is true: each piece is run, and finds what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llm.tasks
from llm.runtime import handles
from llm.tasks.snippets import snippets_of
from llm.tasks.text_outputs import TextRun
from tests.conftest import fetched
from tests.tasks import text_models as tiny
from tests.tasks.test_rewriting import WORDS as LETTERS
from tests.tasks.test_text_heads import PEOPLE, WORDS


@pytest.fixture(autouse=True)
def _freed() -> Iterator[None]:
    yield
    handles.registry().close_all()


def executed(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["answer"]


def answered(task: str, *inputs: str, model: Path, **options: Any) -> tuple[Any, Any]:
    run = llm.tasks.run(task, *inputs, model=model, **options)
    assert isinstance(run, TextRun)
    snippets = snippets_of(run, inputs, str(model))
    again = executed(snippets.hearth)
    assert again.output == run.output and len(snippets.plain.splitlines()) <= 15
    return run, snippets


def test_the_tutorials_line_where_it_still_gives_the_same(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad"})
    run, snippets = answered("sentiment-analysis", "好坏好", model=folder)
    rows = executed(snippets.pipeline)
    rows = rows[0] if isinstance(rows[0], list) else rows
    assert [row["label"] for row in rows] == list(run.output.classes.labels) and not snippets.old
    assert [row["score"] for row in rows] == pytest.approx(list(run.output.classes.scores), abs=1e-5)

    folder = tiny.tagger(tmp_path / "n", PEOPLE)
    run, snippets = answered("ner", "John在北京。", model=folder)
    rows = executed(snippets.pipeline)
    assert [(row["start"], row["end"]) for row in rows] == [(one.start, one.end) for one in run.output.entities]

    folder = fetched("bert-tiny-splade")
    run, snippets = answered("fill-mask", "Paris is the ___ of France.", model=folder, top_k=3)
    assert [row["token"] for row in executed(snippets.pipeline)] == [one.token for one in run.output.words[0]]


def test_where_the_line_would_give_something_else_it_is_crossed_out(tmp_path: Path) -> None:
    folder = tiny.classifier(tmp_path / "c", {"好": "good", "坏": "bad"})
    _, snippets = answered("sentiment-analysis", "好" * 90, model=folder)
    assert not snippets.pipeline and snippets.old.startswith('pipeline("sentiment-analysis")') and not snippets.gone
    folder = tiny.tagger(tmp_path / "n", {"张": "B-PER", "三": "E-PER"})
    assert not answered("ner", "张三", model=folder)[1].pipeline
    _, snippets = answered("fill-mask", "The ___ of ___.", model=fetched("bert-tiny-splade"))
    assert not snippets.pipeline


def test_what_stands_in_for_the_tasks_that_are_gone(tmp_path: Path) -> None:
    folder = tiny.extractor(tmp_path / "q", WORDS, "北", "京")
    run, snippets = answered("question-answering", "张三在哪里？", "张三在北京工作。", model=folder)
    assert snippets.gone and executed(snippets.plain) == run.output.answers[0].text == "北京"

    params = {"summarization": {"prefix": "s: ", "max_length": 8}}
    folder = tiny.random_seq2seq(tmp_path / "s", LETTERS, task_specific_params=params)
    run, snippets = answered("summarization", "a b c.", model=folder)
    assert executed(snippets.plain).strip() == run.output.text
    run, snippets = answered("translation", "a b c.", model=folder)
    assert executed(snippets.plain).strip() == run.output.text
    _, snippets = answered("translation", "a. b. c.", model=folder)
    assert not snippets.plain
