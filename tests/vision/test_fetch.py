"""Links are followed into the open internet only. Servers of this machine play the hostile ones."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from llm.errors import LinkFailed, LinkRefused, LinkTooLarge
from llm.vision import fetch as fetching
from llm.vision.fetch import fetch, is_public

PICTURE = b"\x89PNG picture"


class _Handler(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        getattr(self, "answer_" + self.path.strip("/").split("/")[0].split(".")[0])()

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def answer_picture(self) -> None:
        self._send(PICTURE, Content_Type="text/html")

    def answer_away(self) -> None:
        self._send(b"", 302, Location="picture.png")

    def answer_inside(self) -> None:
        self._send(b"", 302, Location=f"http://127.0.0.2:{self.server.server_port}/picture.png")

    def answer_file(self) -> None:
        self._send(b"", 302, Location="file:///etc/passwd")

    def answer_round(self) -> None:
        self._send(b"", 302, Location="/round")

    def answer_missing(self) -> None:
        self._send(b"no", 404)

    def answer_large(self) -> None:
        self._send(bytes(60_000))

    def answer_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(bytes(5_000))

    def answer_slow(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(50):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def answer_cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"only this")

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    _Handler.asked = []
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def this_machine(address: object) -> bool:
    """Lets tests reach their server, and nothing else."""
    return str(address) == "127.0.0.1"


def test_a_picture_and_its_name(server: str) -> None:
    found = fetch(f"{server}/picture/%E7%8C%AB.png?size=1", this_machine)
    assert (found.data, found.name) == (PICTURE, "猫.png")


def test_a_redirect_is_followed(server: str) -> None:
    assert fetch(f"{server}/away", this_machine).data == PICTURE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
def test_this_machine_is_never_asked(server: str, host: str) -> None:
    with pytest.raises((LinkRefused, LinkFailed)):
        fetch(f"http://{host}:{server.rsplit(':', 1)[1]}/picture")
    assert _Handler.asked == []


def test_a_redirect_inside_is_refused(server: str) -> None:
    with pytest.raises(LinkRefused) as caught:
        fetch(f"{server}/inside", this_machine)
    assert caught.value.values["reason"] == "private"
    assert _Handler.asked == ["/inside"]


def test_a_name_that_changes_its_mind_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was resolved counts, and what is connected to: not what the name says a moment later."""
    place = ("127.0.0.1", int(server.rsplit(":", 1)[1]))
    row = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: row)
    answers = iter([True, False])
    with pytest.raises(LinkRefused):
        fetch("http://pictures.example/picture", lambda address: next(answers))
    assert _Handler.asked == []


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("93.184.215.14", "10.0.0.7")]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: rows)
    with pytest.raises(LinkRefused):
        fetch("http://pictures.example/picture")


@pytest.mark.parametrize(
    "link, reason",
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.org/a.png", "scheme"),
        ("data:image/png;base64,AAAA", "scheme"),
        ("/etc/passwd", "scheme"),
        ("http://", "address"),
        ("http://user:word@example.org/a.png", "address"),
        ("http://example.org:99999/", "address"),
    ],
)
def test_other_links_are_refused(link: str, reason: str) -> None:
    with pytest.raises(LinkRefused) as caught:
        fetch(link)
    assert caught.value.values["reason"] == reason


def test_a_redirect_to_a_file_is_refused(server: str) -> None:
    with pytest.raises(LinkRefused):
        fetch(f"{server}/file", this_machine)


@pytest.mark.parametrize("path", ["large", "endless"])
def test_too_many_bytes(server: str, path: str) -> None:
    with pytest.raises(LinkTooLarge):
        fetch(f"{server}/{path}", this_machine, limit_bytes=50_000)


def test_too_slow_counts_from_the_first_moment(server: str) -> None:
    began = time.monotonic()
    with pytest.raises(LinkFailed):
        fetch(f"{server}/slow", this_machine, timeout_s=0.8)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("path", ["missing", "round", "cut"])
def test_failures_are_told(server: str, path: str) -> None:
    with pytest.raises(LinkFailed):
        fetch(f"{server}/{path}", this_machine)


PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.192",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "100.64.0.1",
    "198.18.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
