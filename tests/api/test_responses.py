"""OpenAI's newer protocol, by its official client."""

from __future__ import annotations

import json

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

from tests.api.conftest import PATIENCE_S, TOOLED, Served

ASKED = "Say hello in one short sentence."
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]},
}


def test_the_streamed_answer_is_the_whole_one(client: OpenAI, model: str) -> None:
    asked = {"model": model, "input": ASKED, "max_output_tokens": 16, "temperature": 0, "store": False}
    whole = client.responses.create(**asked)
    assert whole.output_text and whole.status in ("completed", "incomplete") and whole.usage.output_tokens
    kinds, said = [], ""
    with client.responses.stream(**asked) as stream:
        for event in stream:
            kinds.append(event.type)
            said += event.delta if event.type == "response.output_text.delta" else ""
    final = event.response  # its client knows a final one only where nothing was cut
    assert said == whole.output_text == final.output_text
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")


def test_an_answer_is_gone_on_from_until_it_is_forgotten(client: OpenAI, model: str) -> None:
    first = client.responses.create(model=model, input="My name is Ada.", max_output_tokens=8, instructions="Be kind.")
    second = client.responses.create(
        model=model, input="What is my name?", max_output_tokens=4, previous_response_id=first.id
    )
    assert second.usage.input_tokens > first.usage.input_tokens, "the turns before are read again"
    assert client.responses.retrieve(first.id).output_text == first.output_text
    given = client.responses.input_items.list(second.id).data
    assert [item.role for item in given if item.type == "message"] == ["user", "assistant", "user"]
    client.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        client.responses.create(model=model, input="And now?", previous_response_id=first.id)
    unkept = client.responses.create(model=model, input=ASKED, max_output_tokens=1, store=False)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(unkept.id)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_is_taken(client: OpenAI, stream: bool) -> None:
    asked = {"model": TOOLED, "tools": [TOOL], "temperature": 0, "max_output_tokens": 64}
    given = [{"role": "user", "content": "What is the weather in Paris?"}]
    if stream:
        with client.responses.stream(input=given, tool_choice="required", **asked) as events:
            answer = events.get_final_response()
    else:
        answer = client.responses.create(input=given, tool_choice="required", **asked)
    call = answer.output[-1]
    assert call.type == "function_call" and isinstance(json.loads(call.arguments)["city"], str)
    given += [item.model_dump(exclude_none=True) for item in answer.output]
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"})
    assert client.responses.create(input=given, **asked).output


class City(BaseModel):
    name: str


def test_an_answer_can_be_held_to_a_schema(client: OpenAI, model: str) -> None:
    parsed = client.responses.parse(
        model=model, input="Name a city.", text_format=City, max_output_tokens=64, temperature=0
    )
    assert isinstance(parsed.output_parsed.name, str)


def test_what_is_wrong_is_refused_by_name(client: OpenAI, model: str) -> None:
    with pytest.raises(BadRequestError, match="needs call_id"):
        client.responses.create(model=model, input=[{"type": "function_call", "name": "x", "arguments": "{}"}])
    with pytest.raises(BadRequestError):
        client.responses.create(model=model, input="x", extra_body={"teperature": 1})
    for odd in ("resp_x", "../../hearth.db", "resp_" + "0" * 32):
        with pytest.raises((NotFoundError, BadRequestError)):
            client.responses.create(model=model, input="x", previous_response_id=odd)


def test_kept_answers_are_their_callers_own(served: Served, make_home, model: str) -> None:
    """Another key's answer is not there, whoever knows its id."""
    from tests.api.conftest import free_port, serve_command, start, stop

    port = free_port()
    server = start(serve_command(port), make_home(), port, HEARTH_API_ACCESS="key", HEARTH_API_KEYS="ann-key,bob-key")
    try:
        ann, bob = ({"authorization": f"Bearer {name}-key"} for name in ("ann", "bob"))
        asked = {"model": model, "input": "Hi", "max_output_tokens": 1}
        made = httpx.post(f"{server.url}/v1/responses", json=asked, headers=ann, timeout=PATIENCE_S).json()
        place = f"{server.url}/v1/responses/{made['id']}"
        assert httpx.get(place, headers=ann).status_code == 200
        assert httpx.get(place, headers=bob).status_code == 404
        assert httpx.delete(place, headers=bob).status_code == 404
        taken = {**asked, "previous_response_id": made["id"]}
        assert httpx.post(f"{server.url}/v1/responses", json=taken, headers=bob).status_code == 404
    finally:
        stop(server)
