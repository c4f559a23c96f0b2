"""Models of other servers: llama.cpp's own server, another Hearth, and servers that misbehave."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import llm
from llm.cancel import Cancel
from llm.catalogue.lookup import find, installed
from llm.config import config
from llm.errors import Busy, Cancelled, InvalidRequest, NoNetwork, RemoteFailed
from llm.events import Finished, PromptReady, TextDelta, ToolCallReady
from llm.remote.client import Call, Server, events, fetched
from llm.remote.servers import add_server, forget_server, key_of, servers
from llm.settings import GenerationSettings
from tests.api.conftest import Served, free_port, make_home, serve_command, served, start, stop  # noqa: F401
from tests.conftest import STARTER

SHORT = GenerationSettings(max_length=8, temperature=0)


def said(model: Any, settings: GenerationSettings = SHORT, **values: Any) -> tuple[str, Finished, list[Any]]:
    found = list(model.stream([llm.user("Count from one to five.")], settings, **values))
    assert isinstance(found[0], PromptReady) and isinstance(found[-1], Finished)
    return "".join(e.text for e in found if isinstance(e, TextDelta)), found[-1], found


@pytest.fixture
def own_home(data_folder: Path) -> Path:
    return data_folder


@pytest.fixture(scope="module")
def llama_server(starter_file: Path) -> Iterator[str]:
    """llama.cpp's own HTTP server, in this process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(starter_file)
    params.n_ctx, params.n_parallel, params.verbosity = 2048, 2, 1
    params.fit_params = False
    params.hostnames, params.api_keys = ["127.0.0.1"], ["llama-key"]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def test_another_hearth(served: Served, own_home: Path) -> None:  # noqa: F811
    found = add_server("home", f"{served.url}/v1/", key="sk-secret")
    assert f"home/{STARTER}" in {entry.id for entry in found} == {entry.id for entry in installed()}
    entry = find(f"home/{STARTER}")
    assert entry.engine == "openai" and entry.context_tokens == 8192 and "sk-secret" not in repr(entry)
    model = llm.load(f"home/{STARTER}")
    assert model is llm.load(f"home/{STARTER}")
    text, end, _ = said(model)
    assert text and end.reason == "length" and end.usage.completion_tokens == 8 and end.usage.prompt_tokens > 8
    assert said(model)[0] == text
    logged = said(model, GenerationSettings(max_length=2, temperature=0, logprobs=2))[2]
    tokens = [token for event in logged if isinstance(event, TextDelta) for token in event.tokens]
    assert len(tokens) == 2 and all(len(token.alternatives) == 2 for token in tokens)
    vectors, count = model.embed(["a hearth", "a fireplace"])  # type: ignore[attr-defined]
    assert len(vectors) == 2 and len(vectors[0]) == 576 and count > 2


def test_tools_and_schemas_through_another_hearth(served: Served, own_home: Path) -> None:  # noqa: F811
    add_server("home", f"{served.url}/v1")
    number = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": False}
    text, _, _ = said(llm.load(f"home/{STARTER}"), GenerationSettings(max_length=60, json_schema=schema))
    assert "n" in json.loads(text)
    with pytest.raises(InvalidRequest, match="tools"):
        said(llm.load(f"home/{STARTER}"), tools=[{"type": "function", "function": {"name": "x", "parameters": {}}}])


def test_cancelling_ends_the_work_over_there(served: Served, own_home: Path) -> None:  # noqa: F811
    add_server("home", f"{served.url}/v1")
    schema = {"type": "string", "minLength": 9000}
    cancel = Cancel()
    stream = llm.load(f"home/{STARTER}").stream(
        [llm.user("Tell a story")], GenerationSettings(max_length=4000, json_schema=schema), cancel
    )
    for event in stream:
        if isinstance(event, TextDelta):
            cancel.set()
    assert isinstance(event, Finished) and event.reason == "cancelled"
    served.wait_idle()


def test_llama_cpps_server(llama_server: str, own_home: Path) -> None:
    with pytest.raises(RemoteFailed, match="another key") as caught:
        add_server("llama", llama_server, key="wrong-key")
    assert "wrong-key" not in str(caught.value) and not servers()
    (entry,) = add_server("llama", llama_server, key="llama-key")
    assert key_of(llama_server) == "llama-key"
    assert (config().home / "server_keys.json").stat().st_mode & 0o077 == 0
    assert "llama-key" not in (config().home / "models.toml").read_text()
    text, end, _ = said(llm.load(entry.id))
    assert text and end.reason == "length" and end.usage.completion_tokens == 8
    forget_server("llama")
    assert not servers() and not key_of(llama_server)


def test_nobody_there(own_home: Path) -> None:
    with pytest.raises(NoNetwork):
        add_server("none", f"http://127.0.0.1:{free_port()}/v1")


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://", "file:///etc/passwd", "http://me:secret@host/v1", "x"])
def test_what_is_no_address(own_home: Path, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add_server("bad", url)
    assert "secret" not in str(caught.value)


Script = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], Server]]:
    """Servers that do what a test tells them, given how often they were asked."""
    running: list[http.server.ThreadingHTTPServer] = []

    def make(script: Script) -> Server:
        count = [0]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                count[0] += 1
                script(self, count[0])

            def log_message(self, *_: Any) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return Server(f"http://127.0.0.1:{server.server_port}/v1", "sk-hidden", silence_s=2)

    yield make
    for server in running:
        server.shutdown()
        server.server_close()


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def test_a_busy_server_is_asked_again(scripted: Callable[[Script], Server]) -> None:
    def script(handler: Any, count: int) -> None:
        if count < 3:
            reply(handler, 503 if count == 1 else 429, b"{}", Retry_After="0")
        else:
            reply(handler, 200, b'{"ok": 3}')

    assert fetched(scripted(script), Call("/x", {})) == {"ok": 3}


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (429, b"{}", Busy, "too many"),
        (400, b'{"error": {"message": "sk-hidden is odd"}}', InvalidRequest, "\\*\\*\\* is odd"),
        (401, b'{"error": "bad key sk-hidden"}', RemoteFailed, "another key"),
        (404, b"<html>nginx</html>", RemoteFailed, "nginx"),
        (500, b"", RemoteFailed, "HTTP 500"),
        (200, b"<html>", RemoteFailed, "not JSON"),
    ],
)
def test_refusals(
    scripted: Callable[[Script], Server], status: int, body: bytes, error: type[Exception], words: str
) -> None:
    server = scripted(lambda handler, count: reply(handler, status, body, Retry_After="0"))
    with pytest.raises(error, match=words) as caught:
        fetched(server, Call("/x", {}))
    assert "sk-hidden" not in str(caught.value) and "sk-hidden" not in repr(server)


def test_silence_and_broken_streams(scripted: Callable[[Script], Server]) -> None:
    quiet = scripted(lambda handler, count: time.sleep(5))
    with pytest.raises(RemoteFailed, match="silent for 2 s"):
        fetched(quiet, Call("/x", {}))

    def half(handler: Any, count: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'data: {"a": 1}\n\n')

    found = []
    with pytest.raises(RemoteFailed, match="broke off"):
        found.extend(events(scripted(half), Call("/x", {}, stream=True), Cancel()))
    assert {"a": 1} in found


def test_a_silent_server_is_left_at_once_when_cancelled(scripted: Callable[[Script], Server]) -> None:
    server = scripted(lambda handler, count: time.sleep(5))
    cancel = Cancel()
    threading.Timer(0.3, cancel.set).start()
    begin = time.perf_counter()
    with pytest.raises(Cancelled):
        fetched(server, Call("/x", {}), cancel)
    assert time.perf_counter() - begin < 4


def test_calls_that_come_in_pieces(scripted: Callable[[Script], Server], own_home: Path) -> None:
    deltas: list[Any] = [
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "go", "arguments": "{}"}}]},
    ]

    def script(handler: Any, count: int) -> None:
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        reply(
            handler, 200, b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"
        )

    from llm.catalogue.entry import ModelEntry
    from llm.plan import LoadPlan
    from llm.remote.chat import RemoteModel

    entry = ModelEntry("r/m", "m", "text-generation", "remote", "openai", base_url="http://x", remote_id="m")
    found = list(RemoteModel(entry, LoadPlan(), scripted(script)).stream([llm.user("x")], SHORT))
    calls = [event.call for event in found if isinstance(event, ToolCallReady)]
    assert [(call.id, call.name, call.arguments) for call in calls] == [("a", "look", '{"x": 1}'), ("b", "go", "{}")]
    assert found[-1].reason == "tool_calls"  # type: ignore[union-attr]
