"""What is known of a job, kept as one JSON file so that any process can tell how far it is."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from llm.files import write_whole

State: TypeAlias = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ACTIVE: frozenset[State] = frozenset({"queued", "running"})
_WINDOW_S = 8.0
"""The rate is taken over this many seconds, so that one slow moment does not upset the remaining time."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is now.

    kind: a row of `llm.jobs.kinds`. owner: whose it is; `local` on a machine without logins. title: what it works on.
    stage: a word of the kind's own for what it is doing. done, total: progress in `unit`; total 0 is unknown.
    rate: units per second, 0 while unknown. error_*: why it failed, for the locale files. params: what it was asked.
    result: what it has so far, and in the end. Times are seconds since 1970.
    """

    id: str
    kind: str
    owner: str = "local"
    title: str = ""
    state: State = "queued"
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    rate: float = 0.0
    error_code: str = ""
    error_values: dict[str, Any] = field(default_factory=dict)
    error_text: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def remaining_s(self) -> float | None:
        """Seconds that are left at this rate; None: unknown."""
        if not self.active or not self.rate or not self.total:
            return None
        return max(0.0, self.total - self.done) / self.rate


def read(path: Path) -> JobRecord | None:
    """The record in a file; None when there is none that can be read. Fields of a newer Hearth are left out."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(JobRecord)}
        return JobRecord(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write(path: Path, record: JobRecord) -> None:
    """Raises: OSError."""
    write_whole(path, json.dumps(asdict(record), ensure_ascii=False, default=str))


class Rate:
    """Units per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def __call__(self, now_s: float, done: float) -> float:
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # another stage counts from the start
        while len(self._seen) > 1 and now_s - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        self._seen.append((now_s, done))
        first_s, first = self._seen[0]
        return (done - first) / (now_s - first_s) if now_s > first_s else 0.0
