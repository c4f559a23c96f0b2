"""Published prompt formats, for repositories whose tokenizer file lacks a chat template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from llm import families
from llm.families.base import RenderOptions
from llm.families.published import FORMATS, SAMPLING, format_of, sampling_of
from llm.messages import assistant, system, user
from llm.settings import GenerationSettings

TALK = [system("Be brief."), user("Hi"), assistant("Hello."), user("Who are you?")]


@dataclass
class Vocabulary:
    """What a family looks at in an engine, without weights."""

    special_tokens: dict[str, int] = field(default_factory=dict)
    chat_template: str = ""
    bos_text: str = "<s>"
    eos_text: str = "</s>"
    stop_ids: frozenset[int] = frozenset({2})
    tool_template: str = ""
    image_tag: str = ""
    pictures_as_words: bool = False


def engine(*tags: str, **texts: Any) -> Any:
    return Vocabulary({tag: 100 + place for place, tag in enumerate(tags)}, **texts)


@pytest.mark.parametrize(
    ("family", "tags", "expected"),
    [
        (
            "llama",
            ("<s>", "</s>"),
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Who are you? [/INST]",
        ),
        (
            "gemma",
            ("<s>", "<start_of_turn>", "<end_of_turn>"),
            "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n"
            "<start_of_turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "starchat",
            ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
            "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n"
            "<|user|>\nWho are you?<|end|>\n<|assistant|>",
        ),
        (
            "glm4",
            ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
            "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi<|assistant|>\nHello.<|user|>\nWho are you?<|assistant|>",
        ),
        (
            "deepseek",
            ("<s>", "</s>"),
            "<s>Be brief.\n\nUser: Hi\n\nAssistant: Hello.</s>User: Who are you?\n\nAssistant:",
        ),
        (
            "smollm",
            ("<|im_start|>", "<|im_end|>"),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello."
            "<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_prompt_without_a_template_of_its_own(family: str, tags: tuple[str, ...], expected: str) -> None:
    vocabulary = engine(*tags)
    spans = families.family(family).render(TALK, vocabulary, RenderOptions())
    assert "".join(span.text for span in spans) == expected
    controls = {span.text for span in spans if span.kind == "control"}
    assert controls <= set(tags)


@pytest.mark.parametrize("family", FORMATS)
def test_typed_tags_stay_text(family: str) -> None:
    tags = tuple({tag for form in FORMATS[family] for tag in form.tags}) or ("<s>",)
    typed = " ".join(tags)
    spans = families.family(family).render([user(typed)], engine(*tags), RenderOptions())
    assert [span.kind for span in spans if typed in span.text] == ["user"]


def test_newer_formats_are_known_by_their_tags() -> None:
    assert "<|start_header_id|>" in format_of("llama", {"<|start_header_id|>", "<|eot_id|>"}).template
    assert "[INST]" in format_of("llama", {"<s>"}).template
    assert "<｜User｜>" in format_of("deepseek", {"<｜User｜>", "<｜Assistant｜>"}).template


def test_stops_of_a_published_format_end_an_answer() -> None:
    vocabulary = engine("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    assert families.family("starchat").stop_ids(vocabulary) == {2, 103}
    glm = engine("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>")
    assert families.family("glm4").stop_ids(glm) == {2, 102, 104}


def test_a_template_of_its_own_comes_first() -> None:
    vocabulary = engine("<s>", chat_template="{{ messages[0]['content'] }}!")
    spans = families.family("llama").render([user("Hi")], vocabulary, RenderOptions())
    assert "".join(span.text for span in spans) == "Hi!"


@pytest.mark.parametrize("family", SAMPLING)
def test_sampling_defaults_are_settings(family: str) -> None:
    published = sampling_of(family)
    assert published.source
    assert GenerationSettings().with_values(published.values)
