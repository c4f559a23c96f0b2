"""What every source of weights shares: progress, the working folder, locks, disk space, hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.errors import Cancelled, DiskFull, DownloadFailed, WrongHash

Stage: TypeAlias = Literal["waiting", "download", "verify", "done"]
_BLOCK_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20
"""Left free on the disk beside what a model takes, for logs and the database."""


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is. `total_bytes` 0: not known yet. `waiting`: another process fetches the same model."""

    stage: Stage
    done_bytes: int = 0
    total_bytes: int = 0


ProgressCall: TypeAlias = Callable[[FetchProgress], None]


def check(stop: threading.Event | None, what: str) -> None:
    """
    Raises:
        Cancelled: the event is set.
    """
    if stop is not None and stop.is_set():
        raise Cancelled(what=what)


def partial_dir(model_id: str) -> Path:
    """Where a fetch that isn't finished keeps what it has; on the same disk as the models."""
    return config().models_dir / ".partial" / folder_name(model_id)


def folder_name(model_id: str) -> str:
    """A model id as one folder name.

    Raises:
        DownloadFailed: the id could step out of the models' folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", model_id):
        raise DownloadFailed(name=model_id, source="its source", detail="its id cannot be a folder name")
    return model_id


@contextmanager
def locked(model_id: str, stop: threading.Event | None, progress: ProgressCall) -> Iterator[None]:
    """Holds the model's lock, shared by threads and processes; waits for it in a cancellable way."""
    from filelock import FileLock, Timeout

    folder = config().models_dir / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{folder_name(model_id)}.lock", thread_local=False)
    while True:
        check(stop, model_id)
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            progress(FetchProgress("waiting"))
    try:
        yield
    finally:
        lock.release()


def ensure_space(folder: Path, needed_bytes: int) -> None:
    """
    Raises:
        DiskFull: the disk that holds `folder` has less than `needed_bytes` and a reserve free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes + _SPARE_BYTES > free_bytes:
        raise DiskFull(needed_bytes=needed_bytes + _SPARE_BYTES, free_bytes=free_bytes, path=str(folder))


@contextmanager
def disk_errors(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turns the system's "no space left" into the error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free_bytes = shutil.disk_usage(folder).free
        raise DiskFull(needed_bytes=needed_bytes, free_bytes=free_bytes, path=str(folder)) from error


def sha256_of(path: Path, stop: threading.Event | None = None, seen: Callable[[int], None] | None = None) -> str:
    """Hexadecimal sha256 of a file; `seen` is told the bytes hashed so far."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            check(stop, path.name)
            digest.update(block)
            done += len(block)
            if seen:
                seen(done)
    return digest.hexdigest()


def verify(folder: Path, hashes: dict[str, str], stop: threading.Event | None, progress: ProgressCall) -> None:
    """
    Raises:
        WrongHash: a file's sha256 is not the expected one.
        DownloadFailed: a file isn't there.
    """
    missing = [name for name in hashes if not (folder / name).is_file()]
    if missing:
        raise DownloadFailed(name=missing[0], source="its source", detail="it didn't come along")
    total = sum((folder / name).stat().st_size for name in hashes)
    before = 0
    for name, expected in hashes.items():
        path = folder / name

        def seen(done: int, before: int = before) -> None:
            progress(FetchProgress("verify", before + done, total))

        actual = sha256_of(path, stop, seen)
        if actual != expected:
            raise WrongHash(name=name, actual=actual, expected=expected)
        before += path.stat().st_size


def move_into_place(arrived: Path, entry: ModelEntry) -> Path:
    """Makes a finished folder the model's, in one rename: it is there whole or not at all."""
    target = config().models_dir / folder_name(entry.id)
    if target.exists():
        # Left by something else and not complete, or the fetch would not have begun.
        shutil.rmtree(target)
    os.replace(arrived, target)
    return target


def remove_partial(model_id: str) -> None:
    """Forgets what an unfinished fetch has kept, in a hub's cache as well."""
    folder = partial_dir(model_id)
    note = folder / "leftovers.json"
    if note.is_file():
        left = json.loads(note.read_text(encoding="utf-8"))
        if left["whole"]:
            shutil.rmtree(left["folder"], ignore_errors=True)
        # In Hugging Face's cache, files that are not ours belong to another program's download.
        ours = "*.hearth.incomplete" if Path(left["folder"]).name.startswith("models--") else "*.incomplete"
        for path in Path(left["folder"]).rglob(ours):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Bytes in a folder that others are writing to; files that vanish meanwhile count as nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
