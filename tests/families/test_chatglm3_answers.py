"""ChatGLM3's answers begin with a line that names a called function, or with an empty one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from llm.engine import GeneratedToken
from llm.events import TextDelta, Token
from llm.families.chatglm_reply import glm_tool_call, tool_call_code
from llm.messages import ToolCallPart
from llm.runtime.output_parser import AnswerSplitter

CALL = "get_weather\n ```python\ntool_call(city='北京', days=3)\n```"


def read(pieces: Sequence[str], tools: bool) -> tuple[str, str]:
    """What is shown at once, and what is held for the end."""
    splitter = AnswerSplitter(None, (), holds_tool_calls=tools)
    splitter.begins_with_metadata = True
    shown = ""
    for place, piece in enumerate(pieces):
        for delta in splitter.feed(GeneratedToken(Token(place, piece), piece)):
            assert isinstance(delta, TextDelta)
            shown += delta.text
    for delta in splitter.rest():
        shown += delta.text
    return shown, splitter.held_text


@pytest.mark.parametrize("tools", [True, False])
@pytest.mark.parametrize("pieces", [[" ", "\n", " ", "你好", "！\n", "2"], ["\n 你好", "！\n2"]])
def test_an_empty_first_line_is_not_shown(pieces: list[str], tools: bool) -> None:
    assert read(pieces, tools) == ("你好！\n2", "")


def test_words_without_a_first_line() -> None:
    assert read(["Hello", " you"], tools=False) == ("Hello you", "")
    assert read(["Hello", " you"], tools=True) == ("Hello you", "")


@pytest.mark.parametrize("size", [1, 5, 200])
def test_a_call_is_held(size: int) -> None:
    shown, held = read([CALL[begin : begin + size] for begin in range(0, len(CALL), size)], tools=True)
    assert shown == ""
    words, calls = glm_tool_call(held)
    assert words == ""
    assert (calls[0].name, json.loads(calls[0].arguments)) == ("get_weather", {"city": "北京", "days": 3})


def test_a_call_goes_back_into_the_prompt_as_it_was_written() -> None:
    call = ToolCallPart("call_0", "get_weather", '{"city": "北京", "days": 3}')
    assert f"{call.name}\n{tool_call_code(call)}" == CALL


@pytest.mark.parametrize(
    "text",
    [
        "get_weather\nnot code",
        "f\ntool_call(__import__('os').system('x'))",
        "f\ntool_call(1)",
        "f\ntool_call(**x)",
        "f",
    ],
)
def test_what_is_no_call_stays_words(text: str) -> None:
    assert glm_tool_call(text) == (text, [])
