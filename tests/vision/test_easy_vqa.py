"""A small trained model answers questions about pictures that it has never seen, in both engines that see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llm
from llm.messages import user
from llm.runtime import handles
from tests.vision.easy_vqa_sample import MODEL, held_out
from tests.vision.to_gguf import to_gguf

GREEDY = llm.GenerationSettings(temperature=0, max_length=6)
RIGHT_AT_LEAST = 0.9


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place: Path = MODEL if request.param == "transformers" else to_gguf(MODEL, tmp_path_factory.mktemp("gguf"))[0]
    handle = llm.load(place)
    assert handle.entry.engine == request.param and handle.entry.task == "image-text-to-text"
    yield handle
    for row in handles.loaded():
        handles.unload(row.key)


def answer(model: Any, *parts: Any) -> str:
    return "".join(event.text for event in model.stream([user(*parts)], GREEDY) if isinstance(event, llm.TextDelta))


def test_it_answers_questions_about_pictures_it_has_never_seen(model: Any) -> None:
    asked = list(held_out())
    right = [answer(model, picture, question) == wanted for picture, question, wanted in asked]
    assert len(right) > 200 and sum(right) / len(right) >= RIGHT_AT_LEAST


def test_without_the_picture_it_can_only_guess(model: Any) -> None:
    asked = [(question, wanted) for _, question, wanted in held_out() if wanted not in ("yes", "no")]
    assert sum(answer(model, question) == wanted for question, wanted in asked) / len(asked) < 0.6
