"""Downloads in the background: they outlive pages and reloads, and a killed process resumes them.

A job is a thread of the server and a small file in `<models>/.jobs`. The file is written at each change of
state and once a second, so whoever starts next finds the job and, unless another process is at it, goes on.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from filelock import FileLock, Timeout

from llm.catalogue import lookup
from llm.catalogue.entry import SourceKind
from llm.config import config
from llm.errors import Cancelled, DownloadFailed, ModelError, NoNetwork, UnknownModel
from llm.files import write_whole
from llm.redaction import without_secrets
from llm.sources import base
from llm.sources.base import FetchProgress, Paused, Stop
from llm.sources.fetch import fetch

State: TypeAlias = Literal["queued", "running", "retrying", "paused", "done", "failed", "cancelled"]
ACTIVE: frozenset[State] = frozenset({"queued", "running", "retrying"})
_WINDOW_S = 8.0
"""Speed is taken over this many seconds, so that one slow moment doesn't upset the remaining time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A download as it is now. `id` is the model's. Times are seconds since 1970; `remaining_s` None: unknown.

    stage: waiting (another process fetches it), download, verify. error_code, error_values: what went wrong,
    to be shown through the locale files. attempt counts from 1. retry_at: when a failed attempt is repeated.
    """

    id: str
    state: State = "queued"
    stage: str = "download"
    done_bytes: int = 0
    total_bytes: int = 0
    speed_bytes_s: float = 0.0
    remaining_s: float | None = None
    attempt: int = 1
    retry_at: float = 0.0
    source: SourceKind | None = None
    error_code: str = ""
    error_values: dict[str, Any] = field(default_factory=dict)
    error_text: str = ""
    started_at: float = 0.0
    updated_at: float = 0.0

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a download that the network interrupts is repeated, and after how long (doubled each time)."""

    attempts: int = 6
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0
    at_once: int = 3

    def wait_s(self, attempt: int) -> float:
        """Exponential back-off with up to a quarter of jitter, so that many clients don't return together."""
        wait = min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s)
        return float(wait * random.uniform(0.75, 1.0))


class Downloads:
    """The jobs of one models folder. All methods are safe to call from any thread."""

    def __init__(self, models_dir: Path, patience: Patience | None = None) -> None:
        self._folder = models_dir / ".jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._patience = patience or Patience()
        self._slots = threading.Semaphore(self._patience.at_once)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, tuple[threading.Thread, Stop]] = {}
        self._restore()

    def start(self, model_id: str, source: SourceKind | None = None) -> Job:
        """Begins, or goes on with, the download of a catalogue model; a running one is left alone.

        Raises:
            UnknownModel: there is no such entry.
        """
        if all(entry.id != model_id for entry in lookup.entries()):
            raise UnknownModel(model=model_id, known=", ".join(entry.id for entry in lookup.entries()))
        with self._lock:
            if model_id in self._running:
                return self._jobs[model_id]
            earlier = self._jobs.get(model_id, Job(model_id))
            job = Job(model_id, done_bytes=earlier.done_bytes, total_bytes=earlier.total_bytes, started_at=time.time())
            self._jobs[model_id] = replace(job, source=source or earlier.source)
            stop = Stop()
            thread = threading.Thread(target=self._work, args=(model_id, stop), name=f"fetch {model_id}", daemon=True)
            self._running[model_id] = (thread, stop)
            self._save(model_id)
            thread.start()
            return self._jobs[model_id]

    def pause(self, model_id: str) -> None:
        """Stops a download and keeps what has arrived; `start` goes on."""
        with self._lock:
            if model_id in self._running:
                self._running[model_id][1].pause()

    def cancel(self, model_id: str) -> None:
        """Stops a download and removes what has arrived. A paused or failed one is forgotten the same way."""
        with self._lock:
            if model_id in self._running:
                self._running[model_id][1].set()
            elif model_id in self._jobs and self._jobs[model_id].state != "done":
                base.remove_partial(model_id)
                self._change(model_id, state="cancelled", done_bytes=0)

    def dismiss(self, model_id: str) -> None:
        """Takes an ended job off the list."""
        with self._lock:
            if model_id in self._jobs and model_id not in self._running:
                del self._jobs[model_id]
                self._file(model_id).unlink(missing_ok=True)

    def get(self, model_id: str) -> Job | None:
        with self._lock:
            self._follow_others()
            return self._jobs.get(model_id)

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        with self._lock:
            self._follow_others()
            return sorted(self._jobs.values(), key=lambda job: job.started_at, reverse=True)

    def wait(self, model_id: str, timeout_s: float | None = None) -> Job | None:
        """The job once it has ended or been paused, or as it is after the time."""
        with self._lock:
            running = self._running.get(model_id)
        if running:
            running[0].join(timeout_s)
        return self.get(model_id)

    def _work(self, model_id: str, stop: Stop) -> None:
        """The thread of one job."""
        try:
            with FileLock(self._folder / f"{base.folder_name(model_id)}.lock", timeout=0, thread_local=False):
                self._attempts(model_id, stop)
        except Timeout:
            self._fail(model_id, ModelError(detail="another Hearth on this machine is downloading it"))
        except ModelError as error:
            self._fail(model_id, error)
        except Exception as error:
            _log.exception("the download of %s failed", model_id)
            self._fail(model_id, ModelError(detail=without_secrets(f"{type(error).__name__}: {error}")))
        finally:
            with self._lock:
                self._running.pop(model_id, None)

    def _attempts(self, model_id: str, stop: Stop) -> None:
        """Tries until it is there, the network stays away too long, or somebody stops it."""
        attempt = 0
        try:
            while True:
                attempt += 1
                try:
                    self._one_attempt(model_id, stop, attempt)
                    return
                except (NoNetwork, DownloadFailed) as error:
                    passing = isinstance(error, NoNetwork) or error.values.get("transient")
                    if not passing or attempt >= self._patience.attempts:
                        raise
                    wait_s = self._patience.wait_s(attempt)
                    _log.warning("%s: attempt %d failed, next in %.0f s: %s", model_id, attempt, wait_s, error)
                    self._change(model_id, state="retrying", retry_at=time.time() + wait_s, **_of(error))
                    stop.wait(wait_s)
                base.check(stop, model_id)
        except Paused:
            self._change(model_id, state="paused", speed_bytes_s=0.0, remaining_s=None)
        except Cancelled:
            base.remove_partial(model_id)
            self._change(model_id, state="cancelled", done_bytes=0, speed_bytes_s=0.0, remaining_s=None)

    def _one_attempt(self, model_id: str, stop: Stop, attempt: int) -> None:
        while not self._slots.acquire(timeout=0.2):
            base.check(stop, model_id)
        try:
            base.check(stop, model_id)
            entry = lookup.find(model_id)
            self._change(model_id, state="running", attempt=attempt, error_code="", error_values={}, error_text="")
            job = self._jobs[model_id]
            fetch(entry, _Report(self, model_id), stop, source=job.source, keep_partial=True)
        finally:
            self._slots.release()
        job = self._jobs[model_id]
        total = job.total_bytes or entry.size_bytes
        self._change(model_id, state="done", done_bytes=total, total_bytes=total, speed_bytes_s=0.0, remaining_s=0.0)

    def _fail(self, model_id: str, error: ModelError) -> None:
        _log.error("%s: %s", model_id, error)
        self._change(model_id, state="failed", speed_bytes_s=0.0, remaining_s=None, **_of(error))

    def _change(self, model_id: str, save: bool = True, **values: Any) -> None:
        with self._lock:
            self._jobs[model_id] = replace(self._jobs[model_id], updated_at=time.time(), **values)
            if save:
                self._save(model_id)

    def _file(self, model_id: str) -> Path:
        return self._folder / f"{base.folder_name(model_id)}.json"

    def _save(self, model_id: str) -> None:
        """Replaces the job's file in one step. A full disk must not end the download that it tells of."""
        try:
            write_whole(self._file(model_id), json.dumps(asdict(self._jobs[model_id]), default=str))
        except OSError as error:
            _log.warning("the state of %s could not be kept: %s", model_id, error)

    def _follow_others(self) -> None:
        """Reads again what another process is at."""
        for model_id, job in list(self._jobs.items()):
            if job.active and model_id not in self._running:
                self._jobs[model_id] = self._read(self._file(model_id)) or replace(job, state="cancelled")

    @staticmethod
    def _read(path: Path) -> Job | None:
        try:
            return Job(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            _log.warning("%s cannot be read and is left out: %s", path.name, error)
            return None

    def _restore(self) -> None:
        """Takes up the jobs of the last process: those that were at work go on. Clears abandoned leftovers."""
        for path in sorted(self._folder.glob("*.json")):
            job = self._read(path)
            if job:
                self._jobs[job.id] = job
        for job in list(self._jobs.values()):
            if job.active and self._is_free(self._folder / f"{job.id}.lock"):
                self._resume(job)
        for folder in (self._folder.parent / ".partial").glob("*"):
            lock = self._folder.parent / ".locks" / f"{folder.name}.lock"
            if folder.name not in self._jobs and self._is_free(lock):
                base.remove_partial(folder.name)

    def _resume(self, job: Job) -> None:
        try:
            self.start(job.id, job.source)
        except UnknownModel as error:
            self._fail(job.id, error)

    @staticmethod
    def _is_free(lock: Path) -> bool:
        """Whether no process holds the lock."""
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0, thread_local=False):
                return True
        except Timeout:
            return False


class _Report:
    """Turns a fetch's progress into the job's numbers; keeps the file current once a second."""

    def __init__(self, downloads: Downloads, model_id: str) -> None:
        self._downloads, self._id = downloads, model_id
        self._seen: deque[tuple[float, int]] = deque()
        self._saved_at = 0.0

    def __call__(self, progress: FetchProgress) -> None:
        if progress.stage == "done":
            return  # the state says so when the job has let go of everything
        now = time.monotonic()
        save = now - self._saved_at >= 1.0
        if save:
            self._saved_at = now
        if progress.stage != "download":
            self._downloads._change(self._id, save, stage=progress.stage, speed_bytes_s=0.0, remaining_s=None)
            return
        while self._seen and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        self._seen.append((now, progress.done_bytes))
        (first_s, first_bytes) = self._seen[0]
        speed = max(0.0, (progress.done_bytes - first_bytes) / (now - first_s)) if now > first_s else 0.0
        left = max(0, progress.total_bytes - progress.done_bytes)
        self._downloads._change(
            self._id,
            save,
            stage="download",
            done_bytes=progress.done_bytes,
            total_bytes=progress.total_bytes,
            speed_bytes_s=speed,
            remaining_s=left / speed if speed and progress.total_bytes else None,
        )


def _of(error: ModelError) -> dict[str, Any]:
    values = {name: without_secrets(v) if isinstance(v, str) else v for name, v in error.values.items()}
    return {"error_code": error.code, "error_values": values, "error_text": without_secrets(str(error))}


def downloads() -> Downloads:
    """The one `Downloads` of this process and data folder; made, and earlier jobs resumed, on first use."""
    return _downloads(config().models_dir)


@cache
def _downloads(models_dir: Path) -> Downloads:
    return Downloads(models_dir)


def start(model_id: str, source: SourceKind | None = None) -> Job:
    """See `Downloads.start`; likewise the others."""
    return downloads().start(model_id, source)


def resume(model_id: str) -> Job:
    return downloads().start(model_id)


def pause(model_id: str) -> None:
    downloads().pause(model_id)


def cancel(model_id: str) -> None:
    downloads().cancel(model_id)


def dismiss(model_id: str) -> None:
    downloads().dismiss(model_id)


def get(model_id: str) -> Job | None:
    return downloads().get(model_id)


def all_jobs() -> list[Job]:
    return downloads().all()
