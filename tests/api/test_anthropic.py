"""Programs that were made for Anthropic's protocol, by its official client."""

from __future__ import annotations

import json

import anthropic
import httpx
import pytest

from tests.api.conftest import PATIENCE_S, TOOLED, Served

HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]
GREEDY = {"temperature": 0}
"""What its newer clients no longer name and programs still send."""
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def claude(served: Served) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key="none", timeout=PATIENCE_S)


def test_an_answer_comes_as_a_message(claude, model):
    message = claude.messages.create(
        model=model, max_tokens=12, messages=HELLO, system="You are kind.", extra_body=GREEDY
    )
    assert message.role == "assistant" and message.content[0].type == "text" and message.content[0].text
    assert message.stop_reason in ("max_tokens", "end_turn")
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 10 and message.usage.output_tokens


def test_the_streamed_answer_is_the_whole_one(claude, model):
    said = claude.messages.create(model=model, max_tokens=16, messages=HELLO, extra_body=GREEDY).content[0].text
    with claude.messages.stream(model=model, max_tokens=16, messages=HELLO, extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == said
        final = stream.get_final_message()
    assert final.content[0].text == said and final.usage.output_tokens and final.usage.input_tokens


def test_tokens_are_counted_as_they_are_used(claude, model):
    counted = claude.messages.count_tokens(model=model, messages=HELLO, system="You are kind.").input_tokens
    used = claude.messages.create(model=model, max_tokens=1, messages=HELLO, system="You are kind.").usage
    assert counted == used.input_tokens + used.cache_read_input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_is_taken(claude, stream):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = {"model": TOOLED, "max_tokens": 64, "tools": [WEATHER], "extra_body": GREEDY}
    forced = {"type": "tool", "name": "get_weather"}
    if stream:
        with claude.messages.stream(messages=messages, tool_choice=forced, **asked) as events:
            answer = events.get_final_message()
    else:
        answer = claude.messages.create(messages=messages, tool_choice=forced, **asked)
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use" and call.type == "tool_use" and call.name == "get_weather"
    assert isinstance(call.input["city"], str)
    messages += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "18 degrees"}]},
                {"type": "text", "text": "Answer in one sentence."},
            ],
        },
    ]
    assert claude.messages.create(messages=messages, **asked).content


def test_an_answer_can_be_held_to_a_schema(claude, model):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    said = claude.messages.create(model=model, max_tokens=64, messages=HELLO, output_config=form, extra_body=GREEDY)
    assert isinstance(json.loads(said.content[0].text)["city"], str)


def test_errors_are_told_as_its_client_reads_them(claude, model, served):
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="nobody", max_tokens=1, messages=HELLO)
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": "hello " * 20_000}])
    with pytest.raises(anthropic.BadRequestError, match="is no PDF file"):
        document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
        claude.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": [document]}])
    answer = httpx.post(f"{served.url}/v1/messages", json={"model": model, "messages": HELLO}, timeout=PATIENCE_S)
    assert answer.status_code == 400 and answer.json()["type"] == "error"
    assert "max_tokens" in answer.json()["error"]["message"]
