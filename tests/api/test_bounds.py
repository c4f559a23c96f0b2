"""What one caller may take of the server: bytes, time and places. Others are answered meanwhile."""

from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest

from llm.api.bodies import MAX_VALUES, parsed
from llm.errors import InvalidRequest
from tests.api.conftest import Served
from tests.conftest import STARTER

LARGE = 20_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * LARGE + b"0]",
        b'["a"' + b',"a"' * 4_000_000 + b"]",
        b"[" * LARGE,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"[" + b"{}," * 1_000_000 + b"{}]",
    ],
    ids=["numbers", "strings", "open", "deep", "objects"],
)
def test_too_many_values_are_refused_before_they_are_made(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parsed(body)


def test_marks_inside_of_strings_do_not_count() -> None:
    text = ',:[]{}"\\' * (MAX_VALUES // 8)
    assert parsed(httpx.Request("POST", "http://a", json={"text": text}).content) == {"text": text}


def _status(served: Served, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{served.url}{path}", json=body, timeout=120)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/completions", {"prompt": "a" * LARGE}),
        ("/v1/completions", {"prompt": "word " * (LARGE // 5)}),
        ("/v1/completions", {"prompt": [0] * 5_000_000}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "字" * (LARGE // 4)}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * LARGE}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 5000}] * 3000}),
        ("/v1/embeddings", {"input": "a b" * (LARGE // 3)}),
        ("/v1/embeddings", {"input": [[0] * 3000] * 2000}),
    ],
)
def test_what_is_far_too_long_is_refused_and_nobody_waits(served: Served, path: str, field: dict[str, object]) -> None:
    waits: list[float] = []
    done = threading.Event()

    def others() -> None:
        with httpx.Client() as client:
            while not done.is_set():
                began = time.monotonic()
                assert client.get(f"{served.url}/health", timeout=60).status_code == 200
                waits.append(time.monotonic() - began)
                time.sleep(0.02)

    beside = threading.Thread(target=others)
    beside.start()
    answer = _status(served, path, {"model": STARTER, **field})
    done.set()
    beside.join()
    assert answer.status_code == 400, answer.text
    assert len(answer.text) < 1000
    assert len(waits) > 0


def test_an_endless_head_gets_an_answer_and_an_end(served: Served) -> None:
    port = int(served.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(4000):
                sock.sendall(b"a" * 16_384)
                time.sleep(0.001)


def test_half_sent_requests_do_not_shut_others_out(served: Served) -> None:
    port = int(served.url.rsplit(":", 1)[1])
    slow = []
    try:
        for _ in range(700):
            sock = socket.create_connection(("127.0.0.1", port), timeout=30)
            sock.sendall(b"GET /health HTTP/1.1\r\n")
            slow.append(sock)
        assert httpx.get(f"{served.url}/health", timeout=30).status_code == 200
    finally:
        for sock in slow:
            sock.close()
