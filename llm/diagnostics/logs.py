"""The app's log: one file in the data folder, rotated, with secrets and home folders taken out of every line."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from llm.config import config
from llm.redaction import redact

MAX_BYTES = 2_000_000
BACKUPS = 3
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_TAIL_BYTES = 400_000
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ ([A-Z]+) ([\w.\-]+): (.*)")


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _HearthFile(RotatingFileHandler):
    """A class of its own, so that a second `setup_logging` finds the first's handler."""


def setup_logging() -> Path:
    """Sends warnings of every library and everything of `llm` and `ui` to `config().log_file`.

    Safe to call again: the file and level of the present settings apply then. A folder that cannot be
    written to leaves the log on standard error only.
    """
    file, root = config().log_file, logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _HearthFile)]:
        root.removeHandler(handler)
        handler.close()
    level = config().log_level.upper()
    for name in ("llm", "ui", "hearth"):
        logging.getLogger(name).setLevel(level if level in LEVELS else "INFO")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _HearthFile(file, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True)
    except OSError:
        logging.getLogger(__name__).warning("The log cannot be written to %s", file)
        return file
    handler.setFormatter(_Redacting(FORMAT))
    root.addHandler(handler)
    return file


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record; a traceback's lines belong to `text` of the record that they follow."""

    at: datetime
    level: str
    logger: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.level} {self.logger}: {self.text}"


def read_log(least: str = "DEBUG", words: str = "", limit: int = 500, file: Path | None = None) -> list[LogLine]:
    """The newest records of at least a level that hold all `words` (any case), newest last.

    Only the end of the file is read, so that a long log costs no more than a short one.
    """
    wanted = [word for word in words.lower().split() if word]
    kept = [
        line
        for line in _records(file or config().log_file)
        if _rank(line.level) >= _rank(least) and all(word in str(line).lower() for word in wanted)
    ]
    return kept[-limit:]


def _records(file: Path) -> list[LogLine]:
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    records: list[LogLine] = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S")
            records.append(LogLine(at, found[2], found[3], redact(found[4])))
        elif records:
            last = records[-1]
            records[-1] = LogLine(last.at, last.level, last.logger, f"{last.text}\n{redact(line)}")
    return records


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 1
