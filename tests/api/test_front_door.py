# ruff: noqa: E501
"""Pages and API behind one rule: names, origins, proxies, and what the browser may fetch."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from llm.access.callers import is_forwarded, is_local
from tests.api.conftest import Served, free_port, start, stop


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Pages and API below a path of their own, as behind a proxy that serves other things too."""
    import sys

    home, port = tmp_path_factory.mktemp("home"), free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", "Home.py", "--server.headless", "true", "--server.port", str(port),
        "--server.baseUrlPath", "models/hearth",
    ]  # fmt: skip
    served = start(command, home, port, base="/models/hearth", HEARTH_PIP_INDEX_URL="http://127.0.0.1:9/simple")
    yield served
    stop(served)


def raw(app: Served, *lines: str, path: str = "/models/hearth/") -> int:
    """The status of a request that is written line by line."""
    address = urlsplit(app.url)
    closing = () if "Connection: Upgrade" in lines else ("Connection: close",)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, *closing, "", ""]).encode())
        return int(connection.makefile("rb").readline().split()[1])


SOCKET = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
STREAM = "/models/hearth/_stcore/stream"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "localhost.evil.example:80", ""]
)
@pytest.mark.parametrize(
    "path", ["/models/hearth/", STREAM, "/models/hearth/_stcore/host-config", "/models/hearth/v1/models"]
)
def test_a_name_that_was_made_to_point_here_opens_nothing(app: Served, host: str, path: str) -> None:
    assert raw(app, f"Host: {host}", *(SOCKET if path == STREAM else ()), path=path) in (400, 403)


def test_its_own_names_open_it_and_the_api_is_below_the_same_path(app: Served) -> None:
    port = urlsplit(app.url).port
    assert raw(app, f"Host: localhost:{port}") == 200 and raw(app, f"Host: 127.0.0.1:{port}") == 200
    assert httpx.get(f"{app.url}/models/hearth/v1/models", timeout=60).json()["object"] == "list"
    assert httpx.get(f"{app.url}/models/hearth/health", timeout=60).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:3000"])
def test_sockets_of_other_origins_are_refused(app: Served, origin: str) -> None:
    host = urlsplit(app.url).netloc
    assert raw(app, f"Host: {host}", f"Origin: {origin}", *SOCKET, path=STREAM) == 403
    assert raw(app, f"Host: {host}", f"Origin: http://{host}", *SOCKET, path=STREAM) == 101


def test_two_names_are_one_too_many(app: Served) -> None:
    host = urlsplit(app.url).netloc
    assert raw(app, f"Host: {host}", "Host: evil.example") == 400
    assert raw(app, f"Host: {host}", f"Origin: http://{host}", "Origin: https://evil.example") == 400


def test_the_browser_is_told_to_fetch_nothing_from_elsewhere(app: Served) -> None:
    policy = httpx.get(f"{app.url}/models/hearth/", timeout=60).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["img-src"] == "'self' data: blob:" and rules["frame-ancestors"] == "'self'"
    assert not any("http:" in value or "https:" in value or "*" in value for value in rules.values())


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "1.2.3.4"}, {"forwarded": "for=1.2.3.4"}, {"via": "1.1 proxy"}, {"x-forwarded-proto": "https"},
        {"cf-connecting-ip": "1.2.3.4"}, {"x-real-ip": "1.2.3.4"}, {"host": "hearth.example"},
    ],
)  # fmt: skip
def test_whoever_a_proxy_passed_on_is_elsewhere(headers: dict[str, str]) -> None:
    ends = ("127.0.0.1", "127.0.0.1")
    assert is_local("127.0.0.1", ends, {"host": "localhost"}) and not is_forwarded({"host": "localhost"})
    assert not is_local("127.0.0.1", ends, {"host": "localhost", **headers})
    assert not is_local("0.0.0.0", ends, {"host": "localhost"})
    assert not is_local("127.0.0.1", ("127.0.0.1", "10.0.0.9"), {"host": "localhost"})
