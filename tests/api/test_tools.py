"""A model that decides by itself to call a tool: Qwen2.5-Coder, by OpenAI's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Served, free_port, serve_command, start, stop
from tests.conftest import fetched

pytestmark = pytest.mark.slow  # a gigabyte of weights

CODER = "qwen2.5-coder-1.5b-instruct-q4_k_m"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
QUESTION: Any = [{"role": "user", "content": "How is the weather in Rome now?"}]


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    file = fetched(CODER)
    (home / "models").mkdir()
    (home / "models" / CODER).symlink_to(file if file.is_dir() else file.parent)
    port = free_port()
    server = start(serve_command(port), home, port)
    yield server
    stop(server)


@pytest.mark.parametrize("stream", [False, True])
def test_it_calls_a_tool_when_the_question_wants_one(coder: Served, stream: bool) -> None:
    how: dict[str, Any] = {"model": CODER, "messages": QUESTION, "tools": [TOOL], "temperature": 0, "max_tokens": 60}
    answer: Any = coder.client().chat.completions.create(**how, tool_choice="auto", stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in answer]
        (call,) = (call for chunk in chunks for call in chunk.delta.tool_calls or ())
        reason, text = chunks[-1].finish_reason, "".join(chunk.delta.content or "" for chunk in chunks)
    else:
        (call,) = answer.choices[0].message.tool_calls
        reason, text = answer.choices[0].finish_reason, answer.choices[0].message.content or ""
    assert reason == "tool_calls" and not text
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Rome"}
