"""Callers' schemas: bounded, local, and as much of each as the engine knows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, HttpUrl, SecretStr

import llm
from llm.api import conversion
from llm.api.app import create_api
from llm.api.json_schema import MAX_DEPTH, checked
from llm.errors import InvalidRequest
from llm.events import Finished, TextDelta
from tests.engines import tiny_checkpoints
from tests.own_loop import run


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that remembers who came, and its address."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["not", "items", "contains", "if", "propertyNames", "allOf", "$defs", "prefixItems"])
def test_nothing_is_fetched_for_a_reference(place: str, listener: tuple[str, list[str]]) -> None:
    address, seen = listener
    inner: Any = {"$ref": f"{address}/secret"}
    schema = {place: [inner] if place in ("allOf", "prefixItems") else {"a": inner} if place == "$defs" else inner}
    for wanted in (schema, {"$id": f"{address}/base", **schema}):
        with pytest.raises(InvalidRequest, match=r"\$ref"):
            checked(wanted, "response_format")
    with pytest.raises(InvalidRequest):
        checked({"$ref": "file:///etc/passwd"}, "response_format")
    assert not seen


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}},
        {"$ref": "#/$defs/missing"},
        {"$ref": 7},
        {"$dynamicRef": "#x"},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"minProperties": 10**9},
        {"type": "array", "maxItems": 1000, "items": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}}},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "(a{1,1000}){1,1000}"},
        {"type": "string", "pattern": "a" * 5000},
        {"patternProperties": {f"^{n}": {} for n in range(1000)}},
        {"const": 2**64},
        {"enum": list(range(20_000))},
        {"description": "x" * 10**6},
        {"type": 7},
    ],
)
def test_what_would_cost_too_much_or_means_nothing_is_refused_at_once(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        checked(schema, "response_format")


def test_a_schema_nested_beyond_any_sense_is_refused_with_a_sentence() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidRequest, match=str(MAX_DEPTH)):
        checked(schema, "response_format")


def test_a_pattern_that_backtracks_elsewhere_is_matched_in_linear_time() -> None:
    """With Python's `re` this takes longer than anybody lives; a test that waits for it would not end."""
    schema = checked({"type": "string", "pattern": "^(a|a)*$"}, "response_format")
    with pytest.raises(ValueError, match="does not match"):
        schema.check('"' + "a" * 5000 + 'b"')
    schema.check('"aaaa"')
    named = checked({"patternProperties": {"^(x+)+$": {"type": "integer"}}, "additionalProperties": False}, "f")
    with pytest.raises(ValueError):
        named.check('{"' + "x" * 5000 + 'y": 1}')
    named.check('{"xx": 1}')


def test_keys_that_steer_the_grammar_engine_are_not_the_callers() -> None:
    schema = checked({"type": "integer", "x-guidance": {"max_items": 1}, "x-other": 1}, "response_format")
    assert schema.for_engine == {"type": "integer"}


class Station(BaseModel):
    name: str
    lines: set[int]
    tags: frozenset[str] = frozenset()
    map: Path
    key: SecretStr
    site: HttpUrl
    code: bytes
    next: Station | None = None


def test_what_pydantic_writes_is_taken_and_checked_in_the_end() -> None:
    schema = checked(Station.model_json_schema(), "response_format")
    text = str(schema.for_engine)
    assert "uniqueItems" not in text and "'path'" not in text and "password" not in text
    good = '{"name": "x", "lines": [1, 2], "map": "/a", "key": "k", "site": "https://a.example/", "code": "b"}'
    schema.check(good)
    with pytest.raises(ValueError, match="unique"):
        schema.check(good.replace("[1, 2]", "[1, 1]"))


def test_members_are_not_made_up_where_the_schema_names_them() -> None:
    shown = checked({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}, "f").for_engine
    assert shown["additionalProperties"] is False and shown["properties"]["a"]["additionalProperties"] is False
    open_ended = {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}
    assert checked(open_ended, "f").for_engine["additionalProperties"] == {"type": "integer"}


TOOL = {
    "type": "object",
    "properties": {"where": {"$ref": "#/$defs/Place"}},
    "required": ["where"],
    "$defs": {"Place": {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}},
}


@pytest.mark.parametrize("count", [1, 2])
def test_definitions_of_a_tools_parameters_are_found(count: int) -> None:
    told = [{"type": "function", "function": {"name": f"f{i}", "parameters": TOOL}} for i in range(count)]
    schema = checked(conversion.call_schema(told), "tools")
    schema.check('{"name": "f0", "arguments": {"where": {"city": "Oslo"}}}')
    with pytest.raises(ValueError):
        schema.check('{"name": "f0", "arguments": {"where": {"city": "Rome"}}}')


def test_the_engine_compiles_what_is_let_through(home_with_starter: Path) -> None:
    """Also the costliest of what is let through."""
    model: Any = llm.load("smollm2-135m-instruct-q4_1")
    told = [{"type": "function", "function": {"name": f"f{i}", "parameters": TOOL}} for i in range(2)]
    costly = {
        "type": "object",
        "properties": {f"p{i}": {"type": "string", "maxLength": 1000, "pattern": "^(ab|c){1,900}$"} for i in range(8)},
        "additionalProperties": False,
    }
    many = {"type": "array", "maxItems": 9000, "items": {"enum": [f"value {i}" for i in range(9)]}}
    try:
        written = answer(model, checked(conversion.call_schema(told), "tools").for_engine)
        assert '"Oslo"' in written
        for schema in (costly, many):
            assert answer(model, checked(schema, "response_format").for_engine, tokens=4)
    finally:
        model.close()


def answer(model: Any, schema: dict[str, Any], tokens: int = 60) -> str:
    settings = llm.GenerationSettings(max_length=tokens, temperature=0.0, json_schema=schema)
    events = list(model.stream([llm.user("Call f0 for Oslo.")], settings))
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_a_forced_call_on_the_transformers_engine(tmp_path: Path, data_folder: Path) -> None:
    """Random weights call the tool that is asked for, with arguments of its schema."""
    template = "{{ tools | tojson if tools }}" + tiny_checkpoints.CHATML
    tokenizer = tiny_checkpoints.byte_level()
    tokenizer.chat_template = template
    folder = str(tiny_checkpoints.save_checkpoint(tmp_path, "qwen2", tokenizer))
    shape = {"type": "object", "properties": {"colour": {"enum": ["红", "blue"]}}, "required": ["colour"]}
    tools: Any = [{"type": "function", "function": {"name": name, "parameters": shape}} for name in ("paint", "wash")]
    for choice in ("required", {"type": "function", "function": {"name": "wash"}}):
        (call,) = run(forced(folder, tools, choice))
        assert call.name in ("paint", "wash") if choice == "required" else call.name == "wash"
        assert json.loads(call.arguments)["colour"] in ("红", "blue")


async def forced(model: str, tools: Any, choice: Any) -> list[Any]:
    transport = httpx.ASGITransport(create_api("127.0.0.1"), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport) as http_client:
        client = AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=http_client, max_retries=0)
        messages: Any = [{"role": "user", "content": "Do it."}]
        answer = await client.chat.completions.create(
            model=model, messages=messages, tools=tools, tool_choice=choice, max_tokens=80
        )
    assert answer.choices[0].finish_reason == "tool_calls"
    return [call.function for call in answer.choices[0].message.tool_calls]  # type: ignore[union-attr]
