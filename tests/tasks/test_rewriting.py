"""Texts written from texts: nothing between sentences is lost, long ones go through in parts, the prefix is applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llm.tasks
from llm.errors import UnknownLanguages
from llm.runtime import handles
from llm.tasks.sentences import fitting, parts, sentences
from tests.tasks import text_models as tiny

WORDS = [*"abcdefghijklmnopqrstuvwxyz", "。", ".", ":", "好", "天"]


@pytest.fixture(autouse=True)
def _freed() -> Iterator[None]:
    yield
    handles.registry().close_all()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. Smith paid 3.14 in the U.S. today. He left.", ["Mr. Smith paid 3.14 in the U.S. today.", "He left."]),
        ("我来了。你呢？“走！”他说。", ["我来了。", "你呢？", "“走！”", "他说。"]),
        ("First line\n\n\nSecond  line", ["First line", "Second  line"]),
        ("  lead", ["", "lead"]),
        ("", []),
    ],
)
def test_sentences_and_what_stands_between_them(text: str, found: list[str]) -> None:
    stretches = sentences(text)
    assert [one.text for one in stretches] == found
    assert "".join(one.text + one.after for one in stretches) == text


def test_what_does_not_fit_is_halved_and_nothing_lost() -> None:
    text = "word, " * 50 + "end.\n\n" + "字" * 100
    stretches = list(fitting(text, lambda one: len(one) <= 40))
    assert max(len(one.text) for one in stretches) <= 40
    assert "".join(one.text + one.after for one in stretches) == text
    assert all(len(part) <= 40 for part in parts(text, lambda one: len(one) <= 40))


def test_lines_and_empty_lines_of_a_translation_stay(tmp_path: Path) -> None:
    folder = str(tiny.random_seq2seq(tmp_path / "t", WORDS))
    answer: Any = llm.tasks.run("translation", "a b. c d.\n\n好天。\n e f", model=folder)
    assert [old for old, _ in answer.output.parts] == ["a b.", "c d.", "好天。", "e f"]
    new = [written for _, written in answer.output.parts]
    assert answer.output.text == f"{new[0]} {new[1]}\n\n{new[2]}\n {new[3]}"


def test_a_text_beyond_the_models_length_is_summarized_in_parts(tmp_path: Path) -> None:
    folder = str(tiny.random_seq2seq(tmp_path / "s", WORDS, task_specific_params={"summarization": {"max_length": 8}}))
    answer: Any = llm.tasks.run("summarization", "a b c d e f. " * 20, model=folder)
    assert len(answer.output.parts) > 3 and answer.notes[0].code == "parts"
    assert all(len(old.replace(".", "")) <= 24 * 2 for old, _ in answer.output.parts)


def test_the_prefix_of_the_checkpoint_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.tasks import rewriting

    params = {"summarization": {"prefix": "s: ", "max_length": 8}}
    folder = str(tiny.random_seq2seq(tmp_path / "s", WORDS, task_specific_params=params))
    seen: list[str] = []
    real = rewriting._generate
    monkeypatch.setattr(
        rewriting, "_generate", lambda head, texts, *rest: seen.extend(texts) or real(head, texts, *rest)
    )
    llm.tasks.run("summarization", "a b c.", model=folder)
    assert seen[0] == "s: a b c."


def test_a_language_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    size = len(WORDS) + len(tiny.CONTROLS)
    config = transformers.T5Config(
        vocab_size=size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=3,
        decoder_start_token_id=0,
        task_specific_params={"translation_en_to_de": {"prefix": "d: "}, "summarization": {"prefix": "s: "}},
    )  # fmt: skip
    folder = tiny.save(tmp_path / "t5", transformers.T5ForConditionalGeneration(config), WORDS)
    answer: Any = llm.tasks.run("translation", "a b.", model=str(folder), source="en", target="de")
    assert answer.output.parts[0][0] == "a b."
    with pytest.raises(UnknownLanguages, match="de, en"):
        llm.tasks.run("translation", "a b.", model=str(folder), source="en", target="zh")
