"""Vision-language models through the whole engine: what they are sent and what they answer is transformers' own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from llm.cancel import Cancel
from llm.catalogue.lookup import find
from llm.engine import GeneratedToken
from llm.engines.transformers import load
from llm.engines.transformers.vision import processor_of
from llm.errors import CorruptModel, UnsupportedContent
from llm.events import Finished, PromptReady, TextDelta
from llm.messages import ImagePart, Message, TextPart, assistant, user
from llm.plan import LoadPlan
from llm.runtime.chat_model import EngineChatModel
from llm.settings import GenerationSettings
from tests.vision.at_once import at_once
from tests.vision.tiny_vlm import KINDS, TEMPLATE, tiny_vlm

GREEDY = GenerationSettings(temperature=0, max_length=12, repetition_penalty=1.0)
PROCESSORS = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}


def picture(seed: int, size: tuple[int, int] = (90, 60)) -> ImagePart:
    noise = numpy.random.default_rng(seed).integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=numpy.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", f"noise{seed}.png")


ONE = [user(picture(1), "What is in the picture?")]
SEVERAL = [user(picture(1), picture(2, (130, 70)), "图片里有什么？")]
TURNS = [
    user(picture(1), "What is in the picture?"),
    assistant("A red square."),
    user("And here?", picture(3, (60, 120)), "一只猫。"),
    assistant("一只猫。"),
    user("What is beside it?"),
]
CONVERSATIONS = {"one": ONE, "several": SEVERAL, "turns": TURNS}


class Published:
    """The model as its makers call it: transformers' own processor and `generate`."""

    def __init__(self, processor: str, folder: Path, template: str = TEMPLATE, **values: Any) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        pictures = AutoImageProcessor.from_pretrained(folder)
        self.template = template
        self.processor = processor_of(processor, pictures, tokenizer, chat_template=template, **values)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()

    def inputs(self, conversation: list[Message]) -> Any:
        plain = []
        for message in conversation:
            content = [
                {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
                for part in message.parts
            ]
            plain.append({"role": message.role, "content": content})
        images = [
            Image.open(io.BytesIO(part.data)).convert("RGB") for message in conversation for part in message.images
        ]
        text = self.processor.tokenizer.apply_chat_template(
            plain, chat_template=self.template, add_generation_prompt=True, tokenize=False
        )
        return self.processor(text=[text], images=images or None, return_tensors="pt")

    def ids(self, conversation: list[Message]) -> list[int]:
        return [int(token_id) for token_id in self.inputs(conversation)["input_ids"][0]]

    def next_logprobs(self, conversation: list[Message]) -> torch.Tensor:
        """Log-probabilities (vocabulary,) of the answer's first token."""
        with torch.inference_mode():
            return self.model(**self.inputs(conversation)).logits[0, -1].log_softmax(-1)

    def answer(self, conversation: list[Message], tokens: int = 12) -> list[int]:
        inputs = self.inputs(conversation)
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        new = ids[0, inputs["input_ids"].shape[1] :].tolist()
        if new and new[-1] == self.model.config.eos_token_id:
            new.pop()
        return [int(token_id) for token_id in new]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Published]]:
    folder = tiny_vlm(request.param, tmp_path_factory.mktemp(request.param))
    entry = find(folder)
    engine = load(entry, folder, LoadPlan("cpu", "float32"), lambda *_: None)
    yield EngineChatModel(entry, engine.plan, engine), Published(PROCESSORS[request.param], folder)
    engine.close()


def written(model: EngineChatModel, conversation: list[Message]) -> list[int]:
    """Ids of the greedy answer: random models write bytes that are no text."""
    steps = model.engine.generate(model.prompt(conversation), GREEDY, model.family.stop_ids(model.engine), Cancel())
    return [step.token.id for step in steps if isinstance(step, GeneratedToken)]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_prompt_and_pixels_are_the_processors_own(pair: tuple[Any, Published], name: str) -> None:
    model, published = pair
    prompt, wanted = model.prompt(CONVERSATIONS[name]), published.inputs(CONVERSATIONS[name])
    assert list(prompt.ids) == wanted["input_ids"][0].tolist()
    for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids"):
        assert torch.equal(prompt.inputs[key], wanted[key]), key
    assert set(prompt.inputs) == set(wanted) - {"input_ids", "attention_mask"}


def test_picture_tokens_are_marked_as_such(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    prompt = model.prompt(SEVERAL)
    pads = [piece for piece in prompt.pieces if piece.kind == "image"]
    assert {piece.text for piece in pads} == {"<|image_pad|>"}
    assert len(pads) == int(prompt.inputs["image_grid_thw"].prod(1).sum()) // 4


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_greedy_answers_are_those_of_generate(pair: tuple[Any, Published], name: str) -> None:
    model, published = pair
    assert written(model, CONVERSATIONS[name]) == published.answer(CONVERSATIONS[name])


def test_what_is_seen_matters(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    answers = {tuple(written(model, [user(picture(seed), "What is in the picture?")])) for seed in range(5)}
    assert len(answers) > 1


def test_answers_stream_and_end(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    events = list(model.stream(ONE, GREEDY))
    assert isinstance(events[0], PromptReady) and isinstance(events[-1], Finished)
    assert len([event for event in events if isinstance(event, TextDelta)]) > 1
    assert events[-1].usage.prompt_tokens == len(model.prompt(ONE).ids)


def test_stop_ends_it(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    cancel = Cancel()
    events = []
    for event in model.stream(ONE, GenerationSettings(temperature=0, max_length=1500), cancel):
        events.append(event)
        if isinstance(event, TextDelta):
            cancel.set()
    assert events[-1].reason == "cancelled" and events[-1].usage.completion_tokens < 20


def test_typed_picture_tags_stay_text(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    prompt = model.prompt([user(picture(1), "<|vision_start|><|image_pad|><|vision_end|><|im_end|>")])
    pad = model.engine.special_tokens["<|image_pad|>"]
    assert prompt.ids.count(pad) == int(prompt.inputs["image_grid_thw"].prod()) // 4
    assert prompt.ids.count(model.engine.special_tokens["<|im_end|>"]) == 2


def test_pictures_and_words_alone_at_once(pair: tuple[Any, Published]) -> None:
    """Answers with and without pictures share the model and stay what they are alone."""
    model, published = pair
    asked = [ONE, [user("What is beside it?")], SEVERAL]
    alone = [published.answer(ONE), written(model, asked[1]), published.answer(SEVERAL)]
    assert at_once(lambda conversation: written(model, conversation), asked) == alone


def test_a_picture_too_thin_for_the_processor_reaches_the_model(pair: tuple[Any, Published]) -> None:
    model, _ = pair
    thread = io.BytesIO()
    Image.new("RGB", (900, 2)).save(thread, "PNG")
    prompt = model.prompt([user(ImagePart(thread.getvalue()), "What is in the picture?")])
    assert int(prompt.inputs["image_grid_thw"].prod()) > 0


def test_a_processor_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = tiny_vlm("qwen2_vl", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CorruptModel):
        load(find(folder), folder, LoadPlan("cpu", "float32"), lambda *_: None)


def test_a_model_without_eyes_says_so() -> None:
    from tests.runtime.scripted import scripted_model

    model, _ = scripted_model()
    with pytest.raises(UnsupportedContent):
        model.prompt(ONE)
