"""Chat completions by OpenAI's own client against a real server with a real model."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.api.conftest import TOOLED, Served

HELLO: list[Any] = [{"role": "user", "content": "Count from one to five."}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_models_are_those_on_this_machine(client: OpenAI, model: str) -> None:
    assert {found.id for found in client.models.list()} == {model, TOOLED}
    assert client.models.retrieve(model).owned_by == "hearth"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_an_answer_in_one_piece(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=2, seed=1)
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 2


def test_a_stream_says_the_same_as_one_piece(client: OpenAI, model: str) -> None:
    how: dict[str, Any] = {"model": model, "messages": HELLO, "max_completion_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**how)
    chunks = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert not chunks[-1].choices and chunks[-1].usage and whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client: OpenAI, model: str) -> None:
    how: dict[str, Any] = {"model": model, "messages": HELLO, "max_tokens": 24, "temperature": 0}
    full = client.chat.completions.create(**how).choices[0].message.content or ""
    word = full.split()[2]
    cut = client.chat.completions.create(**how, stop=[word, "never said"]).choices[0]
    assert cut.finish_reason == "stop" and cut.message.content == full[: full.index(word)]


def test_a_seed_repeats_an_answer(client: OpenAI, model: str) -> None:
    def said(seed: int) -> str:
        answer = client.chat.completions.create(
            model=model, messages=HELLO, max_tokens=12, temperature=1.5, top_p=1, seed=seed
        )
        return answer.choices[0].message.content or ""

    said(7)  # an answer that another test has just left may share this one's batch, and with it the last digits
    assert said(7) == said(7)
    assert len({said(seed) for seed in (7, 8, 9, 10)}) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client: OpenAI, model: str, stream: bool) -> None:
    how: dict[str, Any] = {"model": model, "messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 3}
    if stream:
        chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**how, temperature=0, stream=True)]
        tokens = [token for chunk in chunks if chunk.logprobs for token in chunk.logprobs.content or ()]
    else:
        told = client.chat.completions.create(**how, temperature=0).choices[0].logprobs
        tokens = list(told.content or ()) if told else []
    assert len(tokens) == 4
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3 and bytes(token.bytes or ()).decode() == token.token
        assert token.top_logprobs[0].logprob == max(other.logprob for other in token.top_logprobs) == token.logprob


def test_json_schema_is_kept(client: OpenAI, model: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Invent a person."}],
        max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age"} and isinstance(person["age"], int)


def test_a_schema_that_is_none_is_refused(client: OpenAI, model: str) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "bogus"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=HELLO, response_format=wanted)
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_call_comes_back_parsed(client: OpenAI, stream: bool) -> None:
    how: dict[str, Any] = {"model": TOOLED, "messages": HELLO, "tools": [TOOL], "max_tokens": 80}
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    if stream:
        chunks = [c.choices[0] for c in client.chat.completions.create(**how, tool_choice=choice, stream=True)]
        calls = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
        reason = chunks[-1].finish_reason
    else:
        answer = client.chat.completions.create(**how, tool_choice="required").choices[0]
        calls, reason = list(answer.message.tool_calls or ()), answer.finish_reason
        assert answer.message.content is None
    assert reason == "tool_calls" and len(calls) == 1 and calls[0].id.startswith("call_")
    assert calls[0].function.name == "get_weather" and set(json.loads(calls[0].function.arguments)) == {"city"}


def test_a_called_tools_answer_goes_back_to_the_model(client: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
    messages: Any = [
        {"role": "user", "content": "How is the weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 31 degrees"},
    ]
    answer = client.chat.completions.create(model=TOOLED, messages=messages, tools=[TOOL], max_tokens=8)
    assert answer.choices[0].message.content
    messages[2]["tool_call_id"] = "call_2"
    with pytest.raises(openai.BadRequestError, match="call_2"):
        client.chat.completions.create(model=TOOLED, messages=messages, tools=[TOOL], max_tokens=8)


def test_what_a_model_cannot_take_is_refused(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model=model, messages=HELLO, tools=[TOOL])
    picture: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with pytest.raises(openai.BadRequestError, match="images"):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [picture]}])
    picture["image_url"]["url"] = "http://169.254.169.254/latest/meta-data"
    with pytest.raises(openai.BadRequestError, match="images"):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [picture]}])


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, "model_not_found"),
        ({"model": "qwen3-8b"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "too_short"),
        ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, "empty_message"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, openai.BadRequestError, "context_length_exceeded"),
        ({"temperature": 3}, openai.BadRequestError, "less_than_equal"),
        ({"n": 9}, openai.BadRequestError, "less_than_equal"),
        ({"extra_body": {"nonsense": 1}}, openai.BadRequestError, "extra_forbidden"),
        ({"frequency_penalty": 3.0}, openai.BadRequestError, "less_than_equal"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_openais(
    client: OpenAI, model: str, change: dict[str, Any], error: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    values: dict[str, Any] = {"model": model, "messages": HELLO, "stream": stream, **change}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**values)
    assert caught.value.code == code and caught.value.body["message"]  # type: ignore[index]


def test_typed_tags_are_plain_text(client: OpenAI, model: str) -> None:
    """An end tag in a question must not end it: it is encoded as several plain tokens."""
    plain = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "a"}], max_tokens=1).usage
    tagged = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "a<|im_end|>"}], max_tokens=1
    ).usage
    assert plain and tagged and tagged.prompt_tokens - plain.prompt_tokens > 2


def test_a_raw_prompt_goes_on(client: OpenAI, model: str) -> None:
    how: dict[str, Any] = {"model": model, "prompt": "Once upon a time", "max_tokens": 6, "temperature": 0}
    answer = client.completions.create(**how, logprobs=2, echo=True).choices[0]
    assert answer.text.startswith("Once upon a time") and answer.finish_reason == "length"
    told = answer.logprobs
    assert told and len(told.tokens or ()) == 6 and all(len(top) == 2 for top in told.top_logprobs or ())
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**how, stream=True))
    assert f"Once upon a time{streamed}" == answer.text
    assert client.completions.create(**{**how, "prompt": [1, 2, 3]}).usage.prompt_tokens == 3  # type: ignore[union-attr]


def test_embeddings(client: OpenAI, model: str) -> None:
    texts = ["A cat sat on the mat.", "A cat was sitting on a mat.", "Interest rates rose by a quarter point."]
    answer = client.embeddings.create(model=model, input=texts)
    first, second, third = (row.embedding for row in answer.data)
    assert abs(sum(x * x for x in first) - 1) < 1e-3 and answer.usage.prompt_tokens > 10

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert likeness(first, second) > likeness(first, third)
    plain = client.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert max(abs(x - y) for x, y in zip(plain, first, strict=True)) < 1e-3
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=model, input="word " * 4000)
    assert caught.value.code == "context_length_exceeded"


def test_the_log_says_nothing_of_what_people_said(served: Served) -> None:
    served.client(key="sk-never-in-a-log").chat.completions.create(
        model="smollm2-135m-instruct-q4_1", messages=[{"role": "user", "content": "a secret word"}], max_tokens=2
    )
    log = served.log.read_text()
    assert "sk-never-in-a-log" not in log and "secret word" not in log
