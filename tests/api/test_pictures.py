"""Pictures in requests: sent along or linked, to a tiny model that sees, through OpenAI's own client."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from llm.api.app import create_api
from llm.vision import fetch
from tests.own_loop import run
from tests.vision.test_transformers_vision import picture
from tests.vision.tiny_vlm import tiny_vlm


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_vlm("qwen2_vl", tmp_path_factory.mktemp("sees")))


def asked(model: str, *urls: str, **values: Any) -> Any:
    """What the app in this process answers to a question about pictures."""

    async def ask() -> Any:
        transport = httpx.ASGITransport(create_api("127.0.0.1"), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport) as http_client:
            client = AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=http_client, max_retries=0)
            content: Any = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
            content.append({"type": "text", "text": "What is in the picture?"})
            messages: Any = [{"role": "user", "content": content}]
            return await client.chat.completions.create(
                model=model, messages=messages, **{"max_tokens": 6, "temperature": 0, **values}
            )

    return run(ask())


def data_url(seed: int) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(seed).data).decode()


@pytest.fixture
def site() -> Iterator[str]:
    """A web server on this machine with one picture, a page and a redirect."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            moved = self.path == "/moved"
            body = picture(1).data if self.path == "/one.png" else b"<html>no picture</html>"
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/one.png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_linked_picture_is_the_one_that_is_sent(
    sees: str, site: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = asked(sees, data_url(1))
    assert sent.choices[0].message.content != asked(sees, data_url(2)).choices[0].message.content
    monkeypatch.setattr(fetch, "fetch", functools.partial(fetch.fetch, allowed=lambda address: True))
    for link in (f"{site}/one.png", f"{site}/moved"):
        linked = asked(sees, link)
        assert linked.choices[0].message.content == sent.choices[0].message.content
        assert linked.usage.prompt_tokens == sent.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError) as caught:
        asked(sees, f"{site}/page.html")
    assert caught.value.code == "not_a_picture"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest/meta-data", "link_refused"),
        ("http://127.0.0.1:80/x.png", "link_refused"),
        ("http://[::1]/x.png", "link_refused"),
        ("http://localhost/x.png", "link_refused"),
        ("file:///etc/passwd", "link_refused"),
        ("ftp://example.org/x.png", "link_refused"),
        ("data:text/html;base64,PGI+", "invalid_request"),
        ("data:image/png;base64,!!!", "invalid_request"),
        ("data:image/png;base64,bm8gcGljdHVyZQ==", "not_a_picture"),
        ("", "link_refused"),
    ],
)
def test_what_is_no_picture_to_be_had(sees: str, data_folder: Path, url: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        asked(sees, url)
    assert caught.value.code == code


def test_a_request_cannot_send_the_server_everywhere(sees: str, data_folder: Path) -> None:
    with pytest.raises(openai.BadRequestError, match="at most 16 linked"):
        asked(sees, *[f"http://example.org/{number}.png" for number in range(17)])


def test_an_answer_about_a_picture_is_held_to_a_schema(sees: str, data_folder: Path) -> None:
    shape = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "seen", "schema": shape}}
    answer = asked(sees, data_url(1), response_format=wanted, max_tokens=40)
    assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "blue")
