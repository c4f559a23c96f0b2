"""The terminal, as a person or a script uses it: real processes, real model."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.cli.app import main
from llm.cli.chat import read
from llm.cli.terminal import printable
from llm.config import config
from tests.conftest import STARTER

ROOT = Path(__file__).resolve().parents[2]


def run(home: Path, *arguments: str, piped: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HEARTH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        input=piped, capture_output=True, text=True, timeout=240, env=environment, check=False,
    )  # fmt: skip


def test_ask_with_piped_text_as_json(home_with_starter: Path) -> None:
    done = run(home_with_starter, "ask", "What is said?", "--json", "--max-tokens", "5", piped="A fox runs.")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["completion_tokens"] == 5 and answer["text"] and answer["reason"] == "length"
    plain = run(home_with_starter, "ask", "Hi", "--max-tokens", "4", "--temperature", "0", "--model", STARTER)
    assert plain.returncode == 0 and plain.stdout.strip() and plain.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "x", "--model", "no-such-model"], 3, "no model"),
        (["ask", "x", "--model", "qwen3-8b"], 3, "not on this machine"),
        (["ask", ""], 1, "empty"),
        (["ask", "x", "--temperature", "9"], 2, "temperature"),
        (["ask", "--bogus"], 2, "bogus"),
        (["nonsense"], 2, "nonsense"),
        (["transcribe", "no-such-file.wav"], 2, "no-such-file"),
        (["transcribe", __file__, "--to", "docx"], 2, "docx"),
        (["models", "pull", "no-such-model"], 3, "no model"),
        (["models", "remove", "qwen3-8b", "--yes"], 3, "not on this machine"),
        (["keys", "revoke", "nobody"], 1, "nobody"),
    ],
)
def test_exit_codes(
    home_with_starter: Path,
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert words in err.replace("\n", " ") and not out


def test_models_are_listed_and_removed(home_with_starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [STARTER] and rows[0]["installed"]
    assert main(["models", "list", "--all", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 10
    assert main(["models", "pull", STARTER]) == 0
    assert main(["models", "remove", STARTER, "--yes"]) == 0
    assert not (home_with_starter / "models" / STARTER).exists()


def test_keys(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "laptop"]) == 0
    key = capsys.readouterr().out.strip()
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "laptop" in shown and key not in shown
    assert main(["keys", "create", "laptop"]) == 1
    assert main(["keys", "revoke", "laptop"]) == 0


@pytest.mark.parametrize(
    "command",
    [["chat"], ["ask"], ["transcribe"], ["serve"], ["doctor"], *(["models", c] for c in ("list", "pull", "remove"))],
)
def test_every_help_shows_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert f"python -m llm {' '.join(command)}" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    lines: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": lines.pop(0))
    yield lines
    assert not lines


def test_messages_of_several_lines(typed: list[str]) -> None:
    typed += ["one line"]
    assert read() == "one line"
    typed += ['"""', "first", "", 'last"""']
    assert read() == "first\n\nlast"
    typed += ['"""a', "b", '"""']
    assert read() == "a\nb"
    typed += ["a \\", "b"]
    assert read() == "a \nb"
    typed += ['"""all here"""']
    assert read() == "all here"


def test_a_picture_must_be_one(
    home_with_starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    no_picture = tmp_path / "x.png"
    no_picture.write_text("words")
    assert main(["ask", "x", "--image", str(no_picture)]) == 1
    assert "not a picture" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1


def test_an_empty_machine_is_told_where_models_come_from(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    told = capsys.readouterr()
    assert not told.out and "--all" in told.err


def test_a_model_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\x07b\n\tc\x9b31m") == "a[2Jb\n\tc31m"


class Terminal:
    """`python -m llm chat` on a terminal of its own."""

    def __init__(self, home: Path) -> None:
        import pty

        self.primary, secondary = pty.openpty()
        environment = {**os.environ, "HEARTH_HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llm", "chat", "--max-tokens", "3000"],
            stdin=secondary, stdout=secondary, stderr=secondary, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(secondary)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.primary, text.encode())

    def wait_for(self, words: str, within_s: float = 120) -> None:
        """Until the words are shown after what was waited for before."""
        end = time.monotonic() + within_s
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            self.seen += os.read(self.primary, 4096).decode(errors="replace")
        self.seen = self.seen.split(words, 1)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_talk_on_a_terminal(home_with_starter: Path, tmp_path: Path) -> None:
    """Ctrl-C ends the answer alone; the talk goes on, is saved and ends with Ctrl-D."""
    terminal = Terminal(home_with_starter)
    try:
        terminal.wait_for("> ")
        terminal.type("/system You tell very long stories.\n")
        terminal.wait_for("system: You tell")
        terminal.wait_for("> ")
        terminal.type("Write a very long story about a fox, with many chapters.\n")
        terminal.wait_for("chapters.")
        end = time.monotonic() + 60
        while len(terminal.seen.strip()) < 20 and time.monotonic() < end:
            terminal.seen += os.read(terminal.primary, 4096).decode(errors="replace")
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("stopped")
        terminal.wait_for("> ")
        saved = tmp_path / "talk.md"
        terminal.type(f"/save {saved}\n")
        terminal.wait_for("talk.md")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
        text = saved.read_text()
        assert "## system" in text and "## user\n\nWrite a very long" in text and "## assistant" in text
    finally:
        terminal.process.kill()
        os.close(terminal.primary)
    assert config().home == home_with_starter
