"""Calls of tools in the ways that models write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm.engine import GeneratedToken
from llm.events import TextDelta, ThinkingDelta, Token
from llm.families.tool_calls import written_calls
from llm.runtime.output_parser import AnswerSplitter, bare_calls

CASES: dict[str, Any] = json.loads(Path(__file__).with_name("tool_answers.json").read_text(encoding="utf-8"))
MORE: dict[str, tuple[str, list[list[Any]]]] = {
    "Mistral, older": ('[TOOL_CALLS] [{"name": "now", "arguments": {"zone": "UTC"}}]', [["now", {"zone": "UTC"}]]),
    "Mistral, two": ('[TOOL_CALLS]a[ARGS]{}[TOOL_CALLS]b[CALL_ID]x1[ARGS]{"n": 2}', [["a", {}], ["b", {"n": 2}]]),
    "Qwen3-Coder": (
        "<tool_call>\n<function=now>\n<parameter=zone>\nUTC\n</parameter>\n<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>",
        [["now", {"zone": "UTC", "n": 3}]],
    ),
    "Qwen3-Coder, bare": ("<function=now>\n</function>", [["now", {}]]),
    "GLM-4.5": (
        "<tool_call>now\n<arg_key>zone</arg_key>\n<arg_value>UTC</arg_value>\n<arg_key>n</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call>",
        [["now", {"zone": "UTC", "n": [1]}]],
    ),
    "GLM-4.5, no arguments": ("<tool_call>now</tool_call>", [["now", {}]]),
    "no arguments": ('<tool_call>{"name": "now"}</tool_call>', [["now", {}]]),
    "null": ('<tool_call>{"name": "now", "arguments": null}</tool_call>', [["now", {}]]),
    "a forgotten end": ('<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}', [["now", {"zone": "UTC"}]]),
    "Llama, two": (
        '<|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {"x": "}"}}',
        [["a", {}], ["b", {"x": "}"}]],
    ),
    "Phi-4": ('<|tool_call|>[{"name": "now", "arguments": {}}]<|/tool_call|>', [["now", {}]]),
    "words first": ('Let me look.\n<tool_call>{"name": "now", "arguments": {}}</tool_call>', [["now", {}]]),
}


@pytest.mark.parametrize("name", [*CASES, *MORE])
def test_calls_are_read(name: str) -> None:
    text, calls = (CASES[name]["text"], CASES[name]["calls"]) if name in CASES else MORE[name]
    words, found = written_calls(text)
    assert [[call.name, json.loads(call.arguments)] for call in found] == calls
    assert words == ("Let me look." if name == "words first" else text if not calls else "")
    assert len({call.id for call in found}) == len(found)


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call> before a call.",
        '<tool_call>{"name": 7}</tool_call>',
        "<tool_call>{broken</tool_call>",
        "[TOOL_CALLS] is Mistral's tag",
        "<function=",
    ],
)
def test_what_is_no_call_stays_words(text: str) -> None:
    words, found = written_calls(text)
    assert not found and words == text


def test_bare_calls_are_calls_of_tools_at_hand_only() -> None:
    text = '```json\n[{"name": "now", "parameters": {"zone": "a\nb"}}]\n```'
    assert [call.arguments for call in bare_calls(text, ("now",))] == ['{"zone": "a\\nb"}']
    assert not bare_calls(text, ("then",)) and not bare_calls("[1, 2]", ("now",))


def shown(text: str, size: int, tags: tuple[str, str] = ("<think>", "</think>")) -> tuple[str, str]:
    splitter = AnswerSplitter(tags, (), holds_tool_calls=False)
    words = thoughts = ""
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
    deltas = [
        delta for n, piece in enumerate(pieces) for delta in splitter.feed(GeneratedToken(Token(n, piece), piece))
    ]
    for delta in [*deltas, *splitter.rest()]:
        if isinstance(delta, ThinkingDelta):
            thoughts += delta.text
        elif isinstance(delta, TextDelta):
            words += delta.text
    return thoughts, words


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thinking_tags(size: int) -> None:
    assert shown("<think>\nHm.\n</think>\n\nHo", size) == ("Hm.\n", "Ho")
    assert shown("So be it.\n</think>\n\nHo", size) == ("", "So be it.\nHo")
    assert shown("[THINK]Hm[/THINK]Ho", size, ("[THINK]", "[/THINK]")) == ("Hm", "Ho")
    assert shown("<think>a</think>Write </think> at the end.", size) == ("a", "Write </think> at the end.")
