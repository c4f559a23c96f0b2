"""Requests as clients write them: what is taken, and what is refused by name."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llm.api import conversion
from llm.api.schemas import ChatMessage, ChatRequest, CompletionRequest, EmbeddingRequest
from llm.errors import InvalidRequest
from llm.messages import ToolCallPart, ToolResultPart

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("bodies.json").read_text(encoding="utf-8"))
PLAIN: dict[str, tuple[type, dict[str, Any]]] = {
    "chat": (ChatRequest, {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}),
    "completions": (CompletionRequest, {"model": "m", "prompt": "Hi"}),
    "embeddings": (EmbeddingRequest, {"model": "m", "input": "Hi"}),
}
PICTURE = b"\x89PNG\r\n\x1a\nnot really"
CODE = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_bodies_of_reported_clients(case: dict[str, Any]) -> None:
    kind, plain = PLAIN[case["route"]]
    body = {**plain, **case.get("add", {}), **({"messages": case["messages"]} if case.get("messages") else {})}
    if case["want"] is False:
        with pytest.raises(ValidationError):
            kind.model_validate(body)  # type: ignore[attr-defined]
    else:
        kind.model_validate(body)  # type: ignore[attr-defined]


@pytest.mark.parametrize("route", PLAIN)
def test_null_is_the_same_as_left_out_everywhere(route: str) -> None:
    kind, plain = PLAIN[route]
    optional = [name for name in kind.model_fields if name not in plain]  # type: ignore[attr-defined]
    assert kind.model_validate({**plain, **dict.fromkeys(optional)}) == kind.model_validate(plain)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{CODE}",
        f"DATA:image/png;charset=utf-8;base64,{CODE}",
        f"data:;base64,{CODE}",
        f"data:image/png;base64,{CODE[:8]}%0A {CODE[8:]}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(PICTURE).decode().rstrip('=')}",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in PICTURE),
    ],
)
def test_data_urls_in_their_legal_forms(url: str) -> None:
    assert conversion._data_of(url, "messages.0") == PICTURE


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,!!!", "data:"])
def test_data_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidRequest):
        conversion._data_of(url, "messages.0")


def test_a_bare_address_arguments_as_an_object_and_the_old_role() -> None:
    given = [
        ChatMessage.model_validate({"role": "user", "content": [{"type": "image_url", "image_url": "data:,x"}]}),
        ChatMessage.model_validate(
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}]}
        ),
        ChatMessage.model_validate({"role": "function", "name": "f", "content": "done"}),
    ]
    assert given[0].content[0].image_url.url == "data:,x"  # type: ignore[index, union-attr]
    made = conversion.messages(given[1:])
    assert made[0].parts == (ToolCallPart("1", "f", '{"x": 1}'),)
    assert made[1].role == "tool" and made[1].parts == (ToolResultPart("f", "f", "done"),)


def test_no_limit_and_no_bound() -> None:
    kind, plain = PLAIN["chat"]
    body = ChatRequest.model_validate({**plain, "max_tokens": -1, "top_k": -1, "tool_choice": "any"})
    assert (body.max_tokens, body.top_k, body.tool_choice) == (None, -1, "required")
    for wrong in ({"max_tokens": 0}, {"max_tokens": -2}, {"top_k": -2}, {"min_p": 2}, {"logit_bias": {"x": 1}}):
        with pytest.raises(ValidationError):
            kind.model_validate({**plain, **wrong})  # type: ignore[attr-defined]
