"""Text of a growing answer."""

from __future__ import annotations

from collections.abc import Sequence

from llm.engines.transformers.text_stream import TextStream

WORDS = "火炉".encode()


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def test_a_character_appears_with_its_last_token() -> None:
    stream = TextStream(decode)
    assert [stream.push(byte) for byte in WORDS] == ["", "", "火", "", "", "炉"]
    assert stream.flush() == ""


def test_an_answer_that_ends_inside_a_character_says_so() -> None:
    stream = TextStream(decode)
    assert "".join(stream.push(byte) for byte in WORDS[:-1]) == "火"
    assert stream.flush() == "�" and stream.flush() == ""
