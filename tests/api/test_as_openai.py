"""What OpenAI's clients rely on: several answers, what goes together, the fields of answers, the old functions."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import TOOLED, Served

HI: list[Any] = [{"role": "user", "content": "Name a colour."}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
    },
}


def test_several_prompts_are_answered_in_order_as_they_are_alone(client: OpenAI, model: str) -> None:
    how: dict[str, Any] = {"model": model, "max_tokens": 5, "temperature": 0}
    prompts = ["The capital of France is", "One, two, three,"]
    alone = [client.completions.create(prompt=prompt, **how) for prompt in prompts]
    both = client.completions.create(prompt=prompts, **how)
    assert [(choice.index, choice.text) for choice in both.choices] == [
        (number, answer.choices[0].text) for number, answer in enumerate(alone)
    ]
    assert both.usage and both.usage.prompt_tokens == sum(
        answer.usage.prompt_tokens for answer in alone if answer.usage
    )
    texts = {0: "", 1: ""}
    for chunk in client.completions.create(prompt=prompts, stream=True, **how):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == [choice.text for choice in both.choices]
    tokens = client.completions.create(prompt=[[1, 2, 3], [4, 5]], **how)  # type: ignore[arg-type]
    assert [choice.index for choice in tokens.choices] == [0, 1]


def test_several_answers_differ_and_the_prompt_counts_once(client: OpenAI, model: str) -> None:
    how: dict[str, Any] = {"model": model, "max_tokens": 8, "temperature": 1.5, "seed": 3}
    three = client.chat.completions.create(messages=HI, n=3, **how)
    texts = [choice.message.content for choice in three.choices]
    assert [choice.index for choice in three.choices] == [0, 1, 2] and len(set(texts)) > 1
    one = client.chat.completions.create(messages=HI, **how)
    assert three.usage and one.usage and three.usage.prompt_tokens == one.usage.prompt_tokens
    ended = []
    for chunk in client.chat.completions.create(
        messages=HI, n=2, stream=True, stream_options={"include_usage": True}, **how
    ):
        ended += [choice.index for choice in chunk.choices if choice.finish_reason]
    assert ended == [0, 1] and chunk.usage and chunk.usage.prompt_tokens == one.usage.prompt_tokens


def test_answers_have_the_fields_that_clients_look_for(served: Served, model: str) -> None:
    body = {"model": model, "messages": HI, "max_tokens": 2}
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)
    other = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.json()["choices"][0]["message"]["refusal"] is None
    assert answer.headers["x-request-id"] != other.headers["x-request-id"]
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    lines = httpx.post(f"{served.url}/v1/chat/completions", json=streamed, timeout=60).text.splitlines()
    told = ['"usage":null' in line for line in lines if line.startswith("data: {")]
    assert told == [True] * (len(told) - 1) + [False]


@pytest.mark.parametrize(
    ("param", "values"),
    [
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("stop", {"stop": list("abcde")}),
        ("tool_choice", {"tool_choice": "auto"}),
        ("messages", {"messages": [*HI, CALL, *HI]}),
        ("messages", {"messages": [*HI, CALL]}),
        (None, {"function_call": "auto"}),
    ],
)
def test_what_means_nothing_alone_is_refused(
    client: OpenAI, model: str, param: str | None, values: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": model, "messages": HI, "max_tokens": 2, **values})
    assert param is None or refused.value.param == param


def test_the_old_functions_are_called_the_old_way(client: OpenAI) -> None:
    how: dict[str, Any] = {"model": TOOLED, "functions": [WEATHER], "max_tokens": 80, "temperature": 0}
    asked: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
    answer = client.chat.completions.create(messages=asked, function_call={"name": "weather"}, **how)
    call = answer.choices[0].message.function_call
    assert call and call.name == "weather" and answer.choices[0].finish_reason == "function_call"
    assert not answer.choices[0].message.tool_calls
    made = {"role": "assistant", "content": None, "function_call": {"name": call.name, "arguments": call.arguments}}
    told = [*asked, made, {"role": "function", "name": "weather", "content": "sunny"}]
    assert client.chat.completions.create(messages=told, **{**how, "max_tokens": 4}).choices[0].message.content


def test_only_allowed_tools_are_told(client: OpenAI) -> None:
    tools: list[Any] = [{"type": "function", "function": {**WEATHER, "name": name}} for name in ("rain", "sun")]
    choice: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools[1:]}}
    answer = client.chat.completions.create(
        model=TOOLED, messages=HI, tools=tools, tool_choice=choice, max_tokens=80, temperature=0
    )
    calls = answer.choices[0].message.tool_calls
    assert calls and calls[0].function.name == "sun"  # type: ignore[union-attr]
