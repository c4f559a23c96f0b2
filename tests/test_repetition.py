"""Answers that go round and round are noticed; what repeats on purpose is not."""

from __future__ import annotations

import pytest

from llm.repetition import RepetitionWatch

POEM = "\n".join(
    f"The {n}th wave came in and the {n}th wave went,\nrow, row, row your boat, gently down the stream."
    for n in range(20)
)
CODE = "```python\nmatrix = [\n" + "    [0, 0, 0, 0, 0, 0, 0, 0],\n" * 24 + "]\n```\n"
TABLE = "| a | b |\n| --- | --- |\n" + "| 0 | 0 |\n" * 100
LIST = "\n".join(f"{n}. Item number {n} of the list" for n in range(200))


def noticed(text: str, size: int = 3) -> bool:
    watch = RepetitionWatch()
    return any([watch.feed(text[begin : begin + size]) for begin in range(0, len(text), size)])


@pytest.mark.parametrize("size", [1, 4, 50])
@pytest.mark.parametrize(
    "unit",
    [
        "🌟",
        "好的，",
        "I am a helpful assistant. ",
        "The answer is 42.\n\n",
        "为什么呢？因为我们不知道。" * 4,
        "x" * 7 + " ",
    ],
)
def test_a_loop_is_noticed(unit: str, size: int) -> None:
    assert noticed("Here is the answer: " + unit * (1200 // len(unit) + 8), size)


@pytest.mark.parametrize("text", [POEM, CODE, TABLE, LIST, "=" * 120 + "\n", "ha" * 60, "0" * 300, "a\n" * 100])
def test_what_repeats_on_purpose_goes_on(text: str) -> None:
    assert not noticed(text)


def test_a_loop_inside_a_code_block_ends_too() -> None:
    assert noticed("```\n" + "print('hello')\n" * 400)
