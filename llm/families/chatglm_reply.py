"""What the ChatGLM line does with an answer once it is written."""

from __future__ import annotations

import ast
import json
import re

from llm.messages import ToolCallPart

TRAINING_TIME = ("[[训练时间]]", "2023年")
_CJK = r"[\u4e00-\u9fff]"
_FULL_WIDTH = ((",", "，"), ("!", "！"), (":", "："), (";", "；"), (r"\?", "？"))


def process_response(text: str) -> str:
    """An answer as ChatGLM-6B's `chat()` returns it (`process_response` of modeling_chatglm.py).

    Punctuation that touches a Chinese character becomes full-width.
    """
    text = text.strip().replace(*TRAINING_TIME)
    for half, full in _FULL_WIDTH:
        text = re.sub(rf"({_CJK}){half}", rf"\1{full}", text)
        text = re.sub(rf"{half}({_CJK})", rf"{full}\1", text)
    return text


def glm_tool_call(text: str) -> tuple[str, list[ToolCallPart]]:
    """ChatGLM3's way to call: the function's name on the first line, then `tool_call(name=value, ...)`.

    The code is read as a syntax tree, never run. Anything else stays words.
    """
    name, newline, code = text.strip().partition("\n")
    match = re.fullmatch(r"\s*(?:```(?:python)?\n)?\s*(tool_call\(.*\))\s*(?:```)?\s*", code, re.DOTALL)
    if not newline or match is None or not name.strip():
        return text, []
    try:
        call = ast.parse(match.group(1), mode="eval").body
        arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}  # type: ignore[attr-defined]
        written = json.dumps(arguments, ensure_ascii=False)
    except (SyntaxError, ValueError, TypeError, AttributeError):
        return text, []
    if None in arguments or call.args:  # type: ignore[attr-defined]
        return text, []
    return "", [ToolCallPart("call_0", name.strip(), written)]


def tool_call_code(part: ToolCallPart) -> str:
    """The reverse of `glm_tool_call`: what the model would have written after the function's name."""
    try:
        arguments = json.loads(part.arguments or "{}")
    except ValueError:
        return f" {part.arguments}"
    if not isinstance(arguments, dict):
        return f" {part.arguments}"
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f" ```python\ntool_call({written})\n```"
