"""Back-pressure, clients that leave, and several at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.api.conftest import PATIENCE_S, Served

LONG: dict[str, Any] = {
    "model": "smollm2-135m-instruct-q4_1",
    "messages": [{"role": "user", "content": "Write a very long story about a fox."}],
    "max_tokens": 4000,
    # Holds the answer open: without an end token in the schema the story goes on.
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 9000}},
    },
}
SHORT = {**LONG, "max_tokens": 2, "response_format": {"type": "text"}}


def test_a_client_that_hangs_up_ends_its_answer(served: Served) -> None:
    stream = served.client().chat.completions.create(**LONG, stream=True)
    for _, _ in zip(range(3), stream, strict=False):
        pass
    assert served.active() == 1
    stream.close()
    served.wait_idle()


def test_a_client_that_gives_up_waiting_ends_its_answer(served: Served) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/chat/completions", json=LONG, timeout=3)
    served.wait_idle()


def test_too_many_are_told_to_come_back(small: Served) -> None:
    client = small.client(max_retries=0)
    client.chat.completions.create(**SHORT)  # loads the model
    streams = [client.chat.completions.create(**LONG, stream=True) for _ in range(2)]
    try:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**SHORT)
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert small.client().models.list().data, "the server still answers"
    finally:
        for stream in streams:
            stream.close()
    small.wait_idle()
    assert client.chat.completions.create(**SHORT).choices[0].finish_reason == "length"


def test_the_official_client_waits_and_gets_through(small: Served) -> None:
    """Three at a server that takes two: the third comes back by itself."""
    client = small.client(max_retries=20)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: client.chat.completions.create(**SHORT), range(3)))
    assert all(answer.usage and answer.usage.completion_tokens == 2 for answer in answers)


def test_many_streams_at_once_and_none_is_lost(served: Served) -> None:
    client = served.client()

    def one(index: int) -> int:
        how = {**SHORT, "max_tokens": 6, "messages": [{"role": "user", "content": f"Say the number {index}."}]}
        chunks = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].usage
        return chunks[-1].usage.completion_tokens

    with ThreadPoolExecutor(12) as pool:
        assert all(1 <= count <= 6 for count in pool.map(one, range(12)))
    served.wait_idle()


def test_the_server_answers_while_a_model_loads(small: Served) -> None:
    """Loading happens in a thread: health stays quick."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(small.client().chat.completions.create, **{**SHORT, "model": "smollm2-tools"})
        slowest = 0.0
        while not loading.done():
            begin = time.perf_counter()
            assert httpx.get(f"{small.url}/health", timeout=PATIENCE_S).json() == {"status": "ok"}
            slowest = max(slowest, time.perf_counter() - begin)
        assert loading.result().choices
    assert slowest < 5


def test_metrics_count(served: Served) -> None:
    def value(name: str) -> float:
        text = httpx.get(f"{served.url}/metrics", timeout=PATIENCE_S).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    name = 'hearth_tokens_total{kind="completion",model="smollm2-135m-instruct-q4_1"}'
    before = value(name)
    served.client().chat.completions.create(**SHORT)
    assert value(name) == before + 2
    assert value('hearth_requests_total{route="/v1/chat/completions",status="200"}') >= 1
