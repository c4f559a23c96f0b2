"""The app's log: written, rotated, without secrets, read back by level and words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm import redaction as redact
from llm.config import config
from llm.diagnostics import logs
from llm.redaction import redact as cleaned


@pytest.fixture
def log(data_folder: Path) -> Iterator[Path]:
    file = logs.setup_logging()
    yield file
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler).__name__ == "_HearthFile"]:
        root.removeHandler(handler)
        handler.close()


def test_lines_arrive_and_can_be_filtered(log: Path) -> None:
    logging.getLogger("llm.runtime.handles").info("Loading one model")
    logging.getLogger("llm.sources").warning("Retrying the download")
    try:
        raise ValueError("deep inside")
    except ValueError:
        logging.getLogger("ui.page").exception("It broke")
    assert [line.level for line in logs.read_log()] == ["INFO", "WARNING", "ERROR"]
    assert [line.text for line in logs.read_log("WARNING", "retrying DOWNLOAD")] == ["Retrying the download"]
    broken = logs.read_log("ERROR")[0]
    assert broken.logger == "ui.page" and "ValueError: deep inside" in broken.text  # the traceback belongs to it
    assert logs.read_log("INFO", "no such words") == []
    assert len(logs.read_log(limit=2)) == 2


def test_setting_up_twice_writes_once(log: Path) -> None:
    assert logs.setup_logging() == log == config().log_file
    logging.getLogger("llm").info("once")
    assert len(logs.read_log(words="once")) == 1


def test_the_log_is_rotated(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 2000)
    logs.setup_logging()
    for number in range(100):
        logging.getLogger("llm").info("line %d with some words to fill the file", number)
    assert log.stat().st_size <= 2000
    assert log.with_name("hearth.log.1").exists()
    assert not log.with_name(f"hearth.log.{logs.BACKUPS + 1}").exists()


def test_a_folder_that_cannot_be_written_to_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path / "file" / "home"))
    config.cache_clear()
    try:
        logs.setup_logging()
        assert logs.read_log() == []
    finally:
        config.cache_clear()


def test_secrets_do_not_reach_the_file(log: Path) -> None:
    secret = "hf_" + "a1B2" * 8
    line = "GET https://x/y?token=%s&a=1 Authorization: Bearer %s from %s"
    logging.getLogger("llm").error(line, secret, secret, Path.home() / "m")
    text = log.read_text(encoding="utf-8")
    assert secret not in text
    assert str(Path.home() / "m") not in text
    assert "a=1" in text


@pytest.mark.parametrize(
    "text",
    [
        "key sk-abcdefghijklmnop1234",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "{'api_key': 'abcdefghij0123'}",
        'HF_TOKEN="abcdefghij0123"',
        "password=abcdefghij0123",
        "https://user:abcdefghij0123@host/x",
        "?X-Amz-Signature=abcdefghij0123&b=1",
        "cookie: abcdefghij0123",
        "ms-abcdefgh-1234-5678",
    ],
)
def test_secrets_in_many_shapes(text: str) -> None:
    found = cleaned(text)
    assert redact.HIDDEN in found
    for secret in ("abcdefghij", "dXNlcjpwYXNz", "ms-abcdefgh"):
        assert secret not in found


@pytest.mark.parametrize(
    "text",
    [
        "3 tokens generated in 2.0 s",
        "max_tokens: 512",
        "token ids 1 2 3",
        "Loading Qwen2.5-7B-Instruct",
        "tokens per second: 12",
        "tokenizer: loaded",
        "sha256 d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert cleaned(text) == text


def test_other_people_s_home_folders_lose_their_names() -> None:
    assert cleaned("/home/alice/models") == "/home/***/models"
    assert cleaned(r"C:\Users\Alice\models") == r"C:\Users\***\models"
    assert cleaned("/Users/alice/x") == "/Users/***/x"
    assert cleaned("/srv/home/hearth.log") == "/srv/home/hearth.log"


def test_the_machine_s_and_the_user_s_names_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_names", lambda: ("alices-laptop", "alice"))
    assert cleaned("alice@alices-laptop: malice") == "***@***: malice"
