"""Calls of tools as models write them, whatever line they come from.

Hermes and Qwen: `<tool_call>{"name", "arguments"}</tool_call>`. Qwen3-Coder: `<function=name><parameter=key>value
</parameter></function>`, with or without the former's tags around it. GLM-4.5: `<tool_call>name<arg_key>key</arg_key>
<arg_value>value</arg_value></tool_call>`. Llama 3: `<|python_tag|>{"name", "parameters"}`, several with semicolons.
Mistral: `[TOOL_CALLS][{"name", "arguments"}]`, later `[TOOL_CALLS]name[ARGS]{...}`. Phi-4: `<|tool_call|>[...]`.

Each as published in the line's chat template. JSON is read value by value, so that a tag inside a string ends nothing;
line breaks inside strings are taken, and a forgotten end tag is forgiven.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llm.messages import ToolCallPart

OPENINGS = ("<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<|tool_call|>", "<function=")
"""What begins a call; an answer is held from there on."""
_CLOSINGS = ("</tool_call>", "<|/tool_call|>", "<|eom_id|>", "<|eot_id|>", "[/TOOL_CALLS]", "</s>")
_DECODER = json.JSONDecoder(strict=False)
_BETWEEN = re.compile(r"[\s;,]*")
_NAMED = re.compile(r"([\w.\-]+)(?:\[CALL_ID\][\w\-]*)?\[ARGS\]\s*")
_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|(?=<function=)|$)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|$)", re.DOTALL)
_GLM_NAME = re.compile(r"\s*([\w.\-]+)\s*(?=<arg_key>|</tool_call>|$)")
_GLM_ARGUMENT = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|$)", re.DOTALL)


def written_calls(text: str) -> tuple[str, list[ToolCallPart]]:
    """The words of an answer without its calls, and the calls. What looks like a call and is none stays words."""
    words, found, position = [], [], 0
    while position < len(text):
        begin = min((at for at in (text.find(mark, position) for mark in OPENINGS) if at >= 0), default=len(text))
        words.append(text[position:begin])
        if begin == len(text):
            break
        opening = next(mark for mark in OPENINGS if text.startswith(mark, begin))
        taken = _taken(text, begin, opening)
        if taken is None:
            words.append(opening)
            position = begin + len(opening)
            continue
        calls, position = taken
        found += calls
    parts = [ToolCallPart(f"call_{place}", name, _as_json(values)) for place, (name, values) in enumerate(found)]
    return ("".join(words).strip() if found else text), parts


def _taken(text: str, begin: int, opening: str) -> tuple[list[tuple[str, Any]], int] | None:
    """The calls after an opening tag, and where the words go on; None where none stand there."""
    inner = begin if opening == "<function=" else begin + len(opening)
    for read in (_json_calls, _named_calls, _function_calls, _glm_call):
        calls, end = read(text, inner)
        if calls:
            return calls, _after_closing(text, end)
    return None


def _json_calls(text: str, position: int) -> tuple[list[tuple[str, Any]], int]:
    """`{...}`, `[{...}, ...]`, or several one after another."""
    found: list[tuple[str, Any]] = []
    end = position
    while True:
        start = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
        if text[start : start + 1] not in ("{", "["):
            return found, end
        try:
            value, after = _DECODER.raw_decode(text, start)
        except ValueError:
            return found, end
        calls = list(_calls_of(value))
        if not calls:
            return found, end
        found, end = [*found, *calls], after


def _calls_of(value: Any) -> Iterator[tuple[str, Any]]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and isinstance(item.get("function"), dict):
            item = item["function"]
        if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
            return
        yield item["name"], item.get("arguments", item.get("parameters", {}))


def _named_calls(text: str, position: int) -> tuple[list[tuple[str, Any]], int]:
    """`name[ARGS]{...}`, each after a tag of its own."""
    match = _NAMED.match(text, position)
    if match is None:
        return [], position
    try:
        values, end = _DECODER.raw_decode(text, match.end())
    except ValueError:
        return [], position
    return [(match[1], values)], end


def _function_calls(text: str, position: int) -> tuple[list[tuple[str, Any]], int]:
    """`<function=name>` with a tag for each parameter; values are JSON where they read as such, else text."""
    found: list[tuple[str, Any]] = []
    end = position
    while match := _FUNCTION.match(text, _BETWEEN.match(text, end).end()):  # type: ignore[union-attr]
        body = match[2].split("</tool_call>")[0]
        values = {name: _value(value) for name, value in _PARAMETER.findall(body)}
        if not values and body.strip().startswith("{"):
            try:
                values = _DECODER.decode(body.strip())
            except ValueError:
                return found, end
        found.append((match[1], values))
        end = match.end()
    return found, end


def _glm_call(text: str, position: int) -> tuple[list[tuple[str, Any]], int]:
    """A name, then keys and values in tags of their own."""
    match = _GLM_NAME.match(text, position)
    if match is None:
        return [], position
    values, end = {}, match.end()
    while argument := _GLM_ARGUMENT.match(text, end):
        values[argument[1].strip()] = _value(argument[2])
        end = argument.end()
    return [(match[1], values)], end


def _after_closing(text: str, position: int) -> int:
    start = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
    return next((start + len(mark) for mark in _CLOSINGS if text.startswith(mark, start)), position)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_json(values: Any) -> str:
    if values is None:
        return "{}"
    return values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)
