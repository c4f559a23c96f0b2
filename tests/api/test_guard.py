"""Who may call, and what a hostile caller gets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.access.addresses import is_loopback
from llm.access.api_keys import Keys
from tests.api.conftest import PATIENCE_S, Served, free_port, serve_command, start, stop

BODY = {"model": "smollm2-135m-instruct-q4_1", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def call(served: Served, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any], Any]:
    """A request with exactly these headers; underscores in names stand for dashes."""
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, {"Content-Type": "application/json", **named})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    told = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, told, json.loads(text) if text and "json" in told.get("content-type", "") else text


@pytest.fixture(scope="module")
def elsewhere(make_home: Callable[[], Path]) -> Iterator[Served]:
    """A server that listens on every address, with one key of its own and one from the environment."""
    port = free_port()
    server = start(serve_command(port, "0.0.0.0"), make_home(), port, HEARTH_API_KEYS="env-key-1, env-key-2")
    yield server
    stop(server)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.7"])
def test_a_foreign_name_is_refused(served: Served, host: str) -> None:
    status, _, body = call(served, "GET", "/v1/models", Host=host)
    assert status in (400, 403) and (status == 400 or body["error"]["code"] == "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origins_pages_are_refused(served: Served, headers: dict[str, str], method: str) -> None:
    body = json.dumps(BODY).encode() if method == "POST" else b""
    path = "/v1/chat/completions" if method == "POST" else "/v1/models"
    status, told, answer = call(served, method, path, body, **headers)
    assert status == 403 and answer["error"]["type"] == "permission_error"
    assert not any(name.startswith("access-control") for name in told)


def test_our_own_page_and_plain_clients_may(served: Served) -> None:
    assert call(served, "GET", "/v1/models", Origin=served.url)[0] == 200
    assert call(served, "GET", "/v1/models", Sec_Fetch_Site="same-origin")[0] == 200
    assert call(served, "GET", "/v1/docs")[0] == 200
    assert "/v1/chat/completions" in call(served, "GET", "/v1/openapi.json")[2]["paths"]


def test_a_form_post_is_not_taken_for_json(served: Served) -> None:
    status, _, body = call(served, "POST", "/v1/chat/completions", json.dumps(BODY).encode(), Content_Type="text/plain")
    assert status == 400 and "error" in body


def test_a_forwarded_request_needs_a_key(served: Served) -> None:
    assert call(served, "GET", "/v1/models", X_Forwarded_For="203.0.113.9")[0] == 401


def test_elsewhere_only_with_a_key(elsewhere: Served) -> None:
    made = Keys()
    path = elsewhere.home / "api_keys.json"
    assert call(elsewhere, "GET", "/health")[0] == 200
    for client in (elsewhere.client("wrong"), elsewhere.client("env-key")):
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
    assert call(elsewhere, "GET", "/metrics")[0] == 401
    assert call(elsewhere, "GET", "/v1/models", Authorization="Basic ZW52LWtleS0x")[0] == 401
    assert elsewhere.client("env-key-2").models.list().data
    assert not path.exists() and made.listed() == []


def test_keys_are_made_listed_and_revoked(elsewhere: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.config import config

    monkeypatch.setenv("HEARTH_HOME", str(elsewhere.home))
    config.cache_clear()
    keys = Keys()
    key = keys.create("laptop")
    try:
        assert elsewhere.client(key).models.list().data
        stored = keys.path.read_text()
        assert key not in stored and key not in str(keys.listed()) and keys.path.stat().st_mode & 0o077 == 0
        keys.revoke("laptop")
        with pytest.raises(openai.AuthenticationError):
            elsewhere.client(key).models.list()
        assert key not in elsewhere.log.read_text() and "env-key-1" not in elsewhere.log.read_text()
    finally:
        config.cache_clear()


def test_paths_are_for_this_machines_people_only(elsewhere: Served, starter_file: Path) -> None:
    with pytest.raises(openai.NotFoundError):
        elsewhere.client("env-key-1").chat.completions.create(**{**BODY, "model": str(starter_file)})
    with pytest.raises(openai.NotFoundError):
        elsewhere.client("env-key-1").chat.completions.create(**{**BODY, "model": "/etc/passwd"})


def test_listed_origins_get_cors(make_home: Callable[[], Path]) -> None:
    port = free_port()
    served = start(serve_command(port), make_home(), port, HEARTH_API_ORIGINS="https://app.example")
    try:
        status, told, _ = call(served, "OPTIONS", "/v1/models", Origin="https://app.example")
        assert status == 204 and told["access-control-allow-origin"] == "https://app.example"
        assert call(served, "GET", "/v1/models", Origin="https://app.example")[1]["vary"] == "Origin"
        assert call(served, "GET", "/v1/models", Origin="https://evil.example")[0] == 403
    finally:
        stop(served)


def test_a_large_body_is_refused(served: Served) -> None:
    huge = json.dumps({**BODY, "messages": [{"role": "user", "content": "x" * (33 << 20)}]}).encode()
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/chat/completions", huge, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent
    finally:
        connection.close()
    assert served.client().models.list().data


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["messages", "temperature", "max_tokens", "stop", "tools", "response_format", "seed", "stream_options"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["chat/completions", "completions", "embeddings"]), st.sampled_from(FIELDS), VALUES)
def test_no_json_breaks_it(served: Served, path: str, field: str, value: Any) -> None:
    first = {"chat/completions": BODY, "completions": {"prompt": "Hi"}, "embeddings": {"input": "Hi"}}[path]
    # Whichever of the two limits a value takes the place of, the other ends the answer within a few words.
    base = {"model": BODY["model"], "max_tokens": 1, "stop": ["e", "a"], **first}
    status, _, body = call(served, "POST", f"/v1/{path}", json.dumps({**base, field: value}).encode())
    assert status < 500, (field, value, body)
    assert status == 200 or set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "smollm2-135m-instruct-q4_1", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "\\u0000", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "x", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    ],
)
def test_no_bytes_break_it(served: Served, raw: bytes) -> None:
    status, _, body = call(served, "POST", "/v1/chat/completions", raw)
    assert 400 <= status < 500 and body["error"]["message"]


def test_loopback_addresses() -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"):
        assert is_loopback(address)
    for address in ("", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "testclient"):
        assert not is_loopback(address)


def test_head_asks_without_a_body(served: Served) -> None:
    for path in ("/health", "/v1/models"):
        status, _, body = call(served, "HEAD", path)
        assert status == 200 and not body


@pytest.mark.parametrize(
    ("path", "right"),
    [("/chat/completions", "/v1/chat/completions"), ("/v1//models", "/v1/models"), ("/v1/v1/models", "/v1/models")],
)
def test_a_wrong_path_is_told_the_right_one(served: Served, path: str, right: str) -> None:
    status, _, body = call(served, "GET", path)
    assert status in (404, 405) and f"It is at {right}." in body["error"]["message"]


def test_the_description_of_the_api_comes_from_here_alone(served: Served) -> None:
    status, told, body = call(served, "GET", "/v1/docs")
    page = body.decode()
    assert status == 200 and "text/html" in told["content-type"] and "POST /v1/chat/completions" in page
    assert "<script" not in page and 'src="' not in page and page.count('href="') == 1
