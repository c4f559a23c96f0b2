"""A chat model in the place of one that was trained for a job: its answers count only where the text bears them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llm.tasks
from llm.errors import InvalidRequest, NoModelForTask
from llm.runtime import handles
from llm.tasks.by_chat import answer_by_chat, language_of
from tests.conftest import STARTER
from tests.runtime.scripted import scripted_model


def answered(said: str, task: Any, *inputs: str, **options: Any) -> Any:
    """What becomes of an answer that a model gave word for word."""
    model, _ = scripted_model(script=[said], context_tokens=4000)
    return answer_by_chat(task, model, inputs, options).output


def test_labels_get_the_models_own_probabilities(home_with_starter: Path) -> None:
    good: Any = llm.tasks.run("sentiment-analysis", "This film is wonderful, I loved it.")
    bad: Any = llm.tasks.run("sentiment-analysis", "What a boring waste of time.")
    assert good.chat and good.model == STARTER
    assert (good.output.classes.labels[0], bad.output.classes.labels[0]) == ("positive", "negative")
    assert sum(good.output.classes.scores) == pytest.approx(1) and good.output.classes.meaning == "logprob"
    own: Any = llm.tasks.run("sentiment-analysis", "The match ended 3:1.", labels=("sports", "cooking", "money"))
    assert set(own.output.classes.labels) == {"sports", "cooking", "money"}
    with pytest.raises(InvalidRequest, match="labels"):
        llm.tasks.run("sentiment-analysis", "x", labels=("only one",))
    handles.registry().close_all()


def test_without_any_model_that_is_said(data_folder: Path) -> None:
    with pytest.raises(NoModelForTask, match="summarization"):
        llm.tasks.run("summarization", "A text.")


def test_entities_that_do_not_stand_in_the_text_are_dropped_and_counted() -> None:
    said = '[{"text": "Anna", "kind": "person"}, {"text": "Paris", "kind": "place"}, {"text": "Ann", "kind": "person"}]'
    text = "Anna met Anna. Ann left."
    output = answered(said, "token-classification", text, kinds=())
    assert [(one.start, one.end) for one in output.entities] == [(0, 4), (9, 13), (15, 18)]
    assert output.dropped == 1
    cut = answered('[{"text": "Anna", "kind": "person"}, {"text": "An', "token-classification", text, kinds=())
    assert len(cut.entities) == 2
    sentence = f'[{{"text": "{text}", "kind": "person"}}]'
    assert answered(sentence, "token-classification", text * 4, kinds=()).entities
    assert not answered(sentence.replace(text, text * 4), "token-classification", text * 4, kinds=()).entities


@pytest.mark.parametrize(
    ("said", "start", "none"),
    [
        ('"Rome."', 13, False),
        ("rome", 13, False),
        ("She lives in a big city", -1, False),
        ("unknown", None, True),
        ("", None, True),
    ],
)
def test_an_answer_is_marked_only_where_it_stands(said: str, start: int | None, none: bool) -> None:
    output = answered(said or " ", "question-answering", "Where does she live?", "She lives in Rome.")
    assert output.no_answer is none
    assert [one.start for one in output.answers] == ([] if start is None else [start])
    if start == 13:
        assert output.answers[0].text == "Rome"


def test_lines_of_a_translation_stay_and_long_texts_are_summarized_in_parts() -> None:
    assert answered("译文", "translation", "One.\n\n  Two.", language="中文").text == "译文\n\n  译文"
    summary = answered("Short.", "summarization", "A sentence. " * 1000, sentences=1)
    assert summary.text == "Short." and len(summary.parts) > 2


def test_the_model_is_asked_in_the_language_of_the_text() -> None:
    assert (language_of("这部电影很好看。"), language_of("A good film（好）.")) == ("zh", "en")
