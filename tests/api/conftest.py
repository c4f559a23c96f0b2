"""A real server with the real starter model, and OpenAI's own client."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.conftest import STARTER, give_starter

ROOT = Path(__file__).resolve().parents[2]
TOOLED = "smollm2-tools"
PATIENCE_S = 180
"""Tests share two cores with others."""


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, key: str = "none", **values: object) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, timeout=PATIENCE_S, **values)  # type: ignore[arg-type]

    def active(self) -> int:
        """Requests in work, by the server's own count."""
        text = httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text
        return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith("hearth_active"))

    def wait_idle(self, within_s: float = 30) -> None:
        end = time.monotonic() + within_s
        while self.active():
            assert time.monotonic() < end, "requests stayed in work"
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(command: list[str], home: Path, port: int, base: str = "", **settings: str) -> Served:
    """Starts a server and waits until it answers. base: the path below which it serves."""
    log = home / "server.log"
    environment = {**os.environ, "HEARTH_HOME": str(home), "PYTHONPATH": str(ROOT), **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    served = Served(f"http://127.0.0.1:{port}", home, process, log)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(f"{served.url}{base}/health", timeout=5).status_code == 200:
                return served
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def stop(served: Served) -> None:
    served.process.terminate()
    try:
        served.process.wait(30)
    except subprocess.TimeoutExpired:
        served.process.kill()
        served.process.wait()


def serve_command(port: int, host: str = "127.0.0.1") -> list[str]:
    return [sys.executable, "-m", "llm", "serve", "--host", host, "--port", str(port)]


@pytest.fixture(scope="session")
def make_home(starter_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes data folders with the starter model, and the same weights as a model that is told of tools."""

    def make() -> Path:
        home = tmp_path_factory.mktemp("home")
        give_starter(home, starter_file)
        (home / "models.toml").write_text(
            f'[[model]]\nid = "{TOOLED}"\nname = "SmolLM2 with tools"\ntask = "chat"\nfamily = "smollm"\n'
            f'engine = "llamacpp"\nabilities = ["text", "tools"]\npath = "{starter_file.as_posix()}"\n',
            encoding="utf-8",
        )
        return home

    return make


@pytest.fixture(scope="session")
def served(make_home: Callable[[], Path]) -> Iterator[Served]:
    """The API alone, listening on this machine."""
    port = free_port()
    server = start(serve_command(port), make_home(), port, HEARTH_PARALLEL="4")
    yield server
    stop(server)


@pytest.fixture(scope="session")
def small(make_home: Callable[[], Path]) -> Iterator[Served]:
    """A server that writes one answer at a time and lets one wait."""
    port = free_port()
    server = start(serve_command(port), make_home(), port, HEARTH_PARALLEL="1", HEARTH_QUEUE_LIMIT="1")
    yield server
    stop(server)


@pytest.fixture
def client(served: Served) -> OpenAI:
    return served.client()


@pytest.fixture(scope="session")
def model() -> str:
    return STARTER


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short sentence, spoken by espeak-ng."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed, so there is no voice to transcribe")
    path = tmp_path_factory.mktemp("voice") / "sentence.wav"
    words = "The quick brown fox jumps over the lazy dog. It was a sunny day in the garden."
    subprocess.run(["espeak-ng", "-v", "en", "-s", "130", "-w", str(path), words], check=True)
    return path
