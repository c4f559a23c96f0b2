"""How a hub worker tells what happens: lines of JSON in a file that its parent follows."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

_EVERY_S = 0.2


class Reporter:
    """Writes events, and keeps count of bytes from however many threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._stage, self._said_at = "download", 0.0

    def say(self, event: str, **values: Any) -> None:
        with self._lock:
            self._write(event, values)

    def plan(self, done: int, total: int) -> None:
        """How many bytes are wanted, and how many of them are there already."""
        with self._lock:
            self._done, self._total = done, total
            self._write("plan", {"done": done, "total": total})

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() - self._said_at >= _EVERY_S:
                self._said_at = time.monotonic()
                self._write("progress", {"stage": self._stage, "done": self._done, "total": self._total})

    def _write(self, event: str, values: dict[str, Any]) -> None:
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()


class WrongBytes(Exception):
    """A file arrived whole, and is another."""

    def __init__(self, name: str, actual: str, expected: str) -> None:
        super().__init__(f"{name} has hash {actual}, {expected} was expected")
        self.name, self.actual, self.expected = name, actual, expected
