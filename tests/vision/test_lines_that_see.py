"""Other lines that see, through the whole engine: what they are sent and what they answer is transformers' own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llm.catalogue.lookup import find
from llm.engines.transformers import load
from llm.errors import MissingPackage
from llm.events import Finished, TextDelta
from llm.messages import user
from llm.plan import LoadPlan
from llm.runtime.chat_model import EngineChatModel
from tests.vision.test_transformers_vision import CONVERSATIONS, GREEDY, ONE, Published, picture, written
from tests.vision.tiny_lines import LINES, tiny_line
from tests.vision.tiny_vlm import tiny_vlm


@pytest.fixture(scope="module", params=LINES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Published]]:
    line = LINES[request.param]
    folder = tiny_line(request.param, tmp_path_factory.mktemp(request.param))
    entry = find(folder)
    assert entry.task == "image-text-to-text" and "image" in entry.abilities
    engine = load(entry, folder, LoadPlan("cpu", "float32"), lambda *_: None)
    yield EngineChatModel(entry, engine.plan, engine), Published(line.processor, folder, line.template, **line.values)
    engine.close()


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_prompt_and_pixels_are_the_processors_own(pair: tuple[Any, Published], name: str) -> None:
    model, published = pair
    prompt, wanted = model.prompt(CONVERSATIONS[name]), published.inputs(CONVERSATIONS[name])
    assert list(prompt.ids) == wanted["input_ids"][0].tolist()
    assert set(prompt.inputs) == set(wanted) - {"input_ids", "attention_mask"}
    for key, value in prompt.inputs.items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_greedy_answers_are_those_of_generate(pair: tuple[Any, Published], name: str) -> None:
    model, published = pair
    assert written(model, CONVERSATIONS[name]) == published.answer(CONVERSATIONS[name])


def test_answers_stream_and_what_is_seen_matters(pair: tuple[Any, Published]) -> None:
    model, published = pair
    events = list(model.stream(ONE, GREEDY))
    assert isinstance(events[-1], Finished) and events[-1].usage.prompt_tokens == len(model.prompt(ONE).ids)
    assert any(isinstance(event, TextDelta) for event in events)
    seen = [published.next_logprobs([user(picture(seed), "What is in the picture?")]) for seed in (1, 2)]
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_typed_tags_stay_text(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    typed = model.engine.image_tag + "<|end|>"
    said = [piece for piece in model.prompt([user(picture(1), typed)]).pieces if piece.kind == "user"]
    assert "".join(piece.text for piece in said) == typed
    assert not {piece.id for piece in said} & set(model.engine.special_tokens.values())


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_they_answer_in_8_and_4_bits(precision: Any, tmp_path: Any) -> None:
    folder = tiny_vlm("qwen2_5_vl", tmp_path)
    entry = find(folder)
    engine = load(entry, folder, LoadPlan("cpu", precision), lambda *_: None)
    model = EngineChatModel(entry, engine.plan, engine)
    assert len(written(model, ONE)) > 0
    kinds = {type(layer).__name__ for layer in model.model.modules()}
    assert "RoundedLinear" in kinds
    engine.close()


def test_a_package_that_a_processor_wants_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.smolvlm import processing_smolvlm

    folder = tiny_line("smolvlm", tmp_path)
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(MissingPackage, match="num2words"):
        load(find(folder), folder, LoadPlan("cpu", "float32"), lambda *_: None)
