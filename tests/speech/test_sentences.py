"""Words into sentences."""

from __future__ import annotations

import pytest

from llm.speech.segments import Word
from llm.speech.sentences import LONG_S, SHORT_S, sentences


def spoken(text: str, pauses: dict[str, float] | None = None, each_s: float = 0.3) -> list[Word]:
    """A word every 0.3 s; `pauses` says how long it is quiet after a word."""
    words, at = [], 0.0
    for word in text.split():
        words.append(Word(f" {word}", at, at + each_s))
        at += each_s + (pauses or {}).get(word, 0.0)
    return words


def texts(words: list[Word]) -> list[str]:
    return ["".join(word.text for word in part).strip() for part in sentences(words)]


def test_a_sentence_each() -> None:
    words = spoken("It was late. Nobody came! Why?", {"late.": 0.4, "came!": 0.3})
    assert texts(words) == ["It was late.", "Nobody came!", "Why?"]


def test_a_full_stop_without_a_pause_is_none() -> None:
    assert texts(spoken("Mr. Darcy danced.")) == ["Mr. Darcy danced."]


def test_a_long_pause_ends_one_too() -> None:
    assert texts(spoken("今天 天气 很好 我们 出去", {"很好": 1.5})) == ["今天 天气 很好", "我们 出去"]


def test_a_quote_after_the_full_stop() -> None:
    assert texts(spoken('"Go." he said.', {'"Go."': 0.2})) == ['"Go."', "he said."]


def test_a_long_one_is_divided_at_a_comma() -> None:
    text = "one two three four five six seven, " + " ".join(f"word{n}" for n in range(24))
    parts = texts(spoken(text))
    assert parts[0] == "one two three four five six seven,"
    assert " ".join(parts) == text


@pytest.mark.parametrize("count", [1, 2, 40, 333])
def test_nothing_is_lost_and_nothing_is_long(count: int) -> None:
    words = spoken(" ".join(f"w{n}" for n in range(count)))
    parts = list(sentences(words))
    assert [word for part in parts for word in part] == words
    for part in parts:
        assert part[-1].end_s - part[0].start_s <= LONG_S + 1e-6
        assert len(parts) == 1 or part[-1].end_s - part[0].start_s >= SHORT_S - 1e-6


def test_no_words() -> None:
    assert list(sentences([])) == []
