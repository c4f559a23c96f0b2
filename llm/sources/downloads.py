"""Downloads of catalogue models as jobs: they outlive pages and reloads, and go on after their process was killed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry, SourceKind
from llm.config import config
from llm.errors import DownloadFailed, NoNetwork, UnknownModel
from llm.jobs import Job, JobRecord, jobs
from llm.sources import base
from llm.sources.base import FetchProgress
from llm.sources.fetch import fetch, usable_sources

KIND = "models.download"
_ABANDONED_AFTER_S = 7 * 24 * 3600.0
_log = logging.getLogger(__name__)
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a download that the network interrupts is repeated, and after how long (doubled each time)."""

    attempts: int = 6
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0

    def wait_s(self, attempt: int) -> float:
        """Exponential back-off with up to a quarter of jitter, so that many clients don't return together."""
        wait = min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s)
        return float(wait * random.uniform(0.75, 1.0))


PATIENCE = Patience()


def start(model_id: str, source: SourceKind | None = None) -> JobRecord:
    """Begins, or goes on with, the download of a catalogue model; a running one is left alone.

    Args:
        source: fetch from there; None: from the first source that answers.

    Raises:
        UnknownModel: there is no such entry.
    """
    entry = next((entry for entry in lookup.entries() if entry.id == model_id), None)
    if entry is None:
        raise UnknownModel(model=model_id, known=", ".join(entry.id for entry in lookup.entries()))
    with _starting:
        earlier = get(model_id)
        if earlier is not None and earlier.active:
            return earlier
        if earlier is not None and earlier.state != "done":
            jobs().resume(earlier.id, **({"source": source} if source else {}))
        else:
            dismiss(model_id)
            jobs().start(KIND, entry.name, {"model": model_id, "source": source})
        begun = get(model_id)
        assert begun is not None
        return begun


def get(model_id: str) -> JobRecord | None:
    """The model's download as it is now: `done` and `total` in bytes; None when there was none."""
    return next((job for job in all_downloads() if job.params["model"] == model_id), None)


def all_downloads() -> list[JobRecord]:
    """Every download that is not dismissed, the newest first."""
    return jobs().all(kind=KIND)


def pause(model_id: str) -> None:
    """Stops a download and keeps what has arrived; `start` goes on."""
    for job in filter(None, [get(model_id)]):
        jobs().pause(job.id)


def cancel(model_id: str) -> None:
    """Stops a download and removes what has arrived. A paused or failed one is given up the same way."""
    for job in filter(None, [get(model_id)]):
        jobs().cancel(job.id)


def dismiss(model_id: str) -> None:
    """Takes an ended download off the list."""
    for job in filter(None, [get(model_id)]):
        jobs().remove(job.id)


def run(job: Job) -> dict[str, Any]:
    """Tries until the model is there, the network stays away too long, or somebody stops it.

    Raises:
        Cancelled, UnknownModel, NoNetwork, DownloadFailed, WrongHash, DiskFull, MissingPackage, ModelNotThere.
    """
    entry = lookup.find(job.params["model"])
    report = _Report(job)
    sources = _answering(entry, job.params["source"], report)
    for attempt in range(1, PATIENCE.attempts + 1):
        job.keep(attempt=attempt)
        try:
            fetch(entry, report, job.cancel, source=next(sources), keep_partial=True)
            return {}
        except (NoNetwork, DownloadFailed) as error:
            passing = isinstance(error, NoNetwork) or error.values.get("transient")
            if not passing or attempt == PATIENCE.attempts:
                raise
            wait_s = PATIENCE.wait_s(attempt)
            _log.warning("%s: attempt %d failed, next in %.0f s: %s", entry.id, attempt, wait_s, error)
            job.log(str(error))
            job.keep(retry_at=time.time() + wait_s)
            job.troubled(error)
            job.cancel.wait(wait_s)
        base.check(job.cancel, entry.name)
    return {}


def discard(record: JobRecord) -> None:
    """Removes what a download that was given up has kept."""
    base.remove_partial(record.params["model"])


def _answering(entry: ModelEntry, asked: SourceKind | None, report: _Report) -> Iterator[SourceKind | None]:
    """Where each attempt fetches from: what was asked for; else each usable source in turn until one answers."""
    kinds: list[SourceKind | None] = [asked] if asked else [source.kind for source in usable_sources(entry)]
    kinds = kinds or [None]
    turn = 0
    while True:
        yield kinds[turn % len(kinds)]
        if len(kinds) > 1 and not report.arrived_bytes:
            base.remove_partial(entry.id)  # what one source left is nothing to another
            turn += 1


class _Report:
    """Turns a fetch's progress into the job's numbers."""

    def __init__(self, job: Job) -> None:
        self._job, self.arrived_bytes = job, 0

    def __call__(self, progress: FetchProgress) -> None:
        self.arrived_bytes = max(self.arrived_bytes, progress.done_bytes)
        if progress.stage != "done":  # the state says so when the job has let go of everything
            self._job.progress(progress.done_bytes, progress.total_bytes, "bytes", progress.stage)


def take_up() -> None:
    """Goes on with what a killed process left half done, and clears what nobody has come back to for a week."""
    _take_up(config().models_dir)


@cache
def _take_up(models_dir: Path) -> None:
    known = {base.folder_name(job.params["model"]) for job in all_downloads()}
    for folder in (models_dir / ".partial").glob("*"):
        lock = models_dir / ".locks" / f"{folder.name}.lock"
        old = time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S
        if old and folder.name not in known and _is_free(lock):
            base.remove_partial(folder.name)


def _is_free(lock: Path) -> bool:
    """Whether no process holds the lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0, thread_local=False):
            return True
    except Timeout:
        return False
