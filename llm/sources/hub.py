"""Models from ModelScope and Hugging Face, fetched by the hubs' own libraries in a program of their own.

The libraries read endpoint, token and cache when they are imported and cannot be stopped from outside; as a
child they take today's settings, end at once, and go on where they were. The files land in the hub's own
cache, where other tools find them too.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from llm.catalogue import caches
from llm.catalogue.entry import ModelEntry, Source
from llm.config import config
from llm.errors import AccessDenied, DiskFull, DownloadFailed, MissingPackage, ModelError, NoNetwork, WrongHash
from llm.paths import SOURCES
from llm.redaction import without_secrets
from llm.sources import base, child
from llm.sources.base import FetchProgress, ProgressCall

NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


def fetch(entry: ModelEntry, source: Source, progress: ProgressCall, stop: threading.Event) -> Path:
    """Fetches what loading needs from a hub into the hub's cache; returns the snapshot's folder.

    The caller holds the model's lock. Files are verified: on Hugging Face by sha256 or git's own hash, on
    ModelScope by the listed sha256; and by the catalogue's own where it has one.

    Raises:
        NoNetwork, AccessDenied, DownloadFailed, WrongHash, DiskFull, MissingPackage, Cancelled.
    """
    folder = base.partial_dir(entry.id)
    folder.mkdir(parents=True, exist_ok=True)
    _note_leftovers(folder, source)
    events = _Events(entry, source, folder / "events.jsonl", progress)
    request = {
        **request_of(source),
        "patterns": list(source.files),
        "single_file": entry.file,
        "events": str(events.path),
    }
    result = child.run(
        ["-m", "llm.sources.hub_worker"], entry.id, environment(), stop, events.poll, json.dumps(request)
    )
    events.poll()
    if events.error:
        raise events.error
    if result.code or not events.arrived:
        detail = without_secrets(result.output.strip()[-400:]) or f"the download ended with code {result.code}"
        raise DownloadFailed(name=source.repo, source=NAMES[source.kind], detail=detail)
    base.verify(Path(events.arrived), dict(source.sha256), stop, progress)
    (folder / "leftovers.json").unlink(missing_ok=True)
    return Path(events.arrived)


def request_of(source: Source) -> dict[str, Any]:
    """What a worker has to know of a source, today's endpoint and token included."""
    at_huggingface = source.kind == "huggingface"
    return {
        "kind": source.kind,
        "repo": source.repo,
        "revision": source.revision,
        "cache": str(cache_of(source)),
        "endpoint": config().hf_endpoint if at_huggingface else config().modelscope_endpoint,
        "token": config().hf_token if at_huggingface else config().modelscope_token,
    }


def environment() -> dict[str, str]:
    """What a worker finds in its environment beside ours."""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH", "")))),
        "PYTHONUTF8": "1",
        # Plain HTTP can be resumed, mirrored and counted; the Xet protocol only speaks to the hub itself.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def cache_of(source: Source) -> Path:
    return caches.huggingface_cache() if source.kind == "huggingface" else caches.modelscope_cache()


def repo_folder(source: Source) -> Path:
    """The folder in the hub's cache that holds one repository."""
    if source.kind == "huggingface":
        return cache_of(source) / f"models--{source.repo.replace('/', '--')}"
    return cache_of(source) / "models" / source.repo.replace("/", "--")


def _note_leftovers(folder: Path, source: Source) -> None:
    """Writes down what to remove from the hub's cache should the fetch be given up."""
    note = folder / "leftovers.json"
    if not note.exists():
        place = repo_folder(source)
        note.write_text(json.dumps({"folder": str(place), "whole": not place.exists()}), encoding="utf-8")


class _Events:
    """Follows what the worker reports."""

    def __init__(self, entry: ModelEntry, source: Source, path: Path, progress: ProgressCall) -> None:
        self.path, self.arrived = path, ""
        self.error: ModelError | None = None
        self._entry, self._source, self._progress = entry, source, progress
        self._at = 0
        path.unlink(missing_ok=True)

    def poll(self) -> None:
        """
        Raises:
            DiskFull: the worker has listed the files and they don't fit.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._at)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "plan":
                place = repo_folder(self._source)
                place.mkdir(parents=True, exist_ok=True)
                base.ensure_space(place, event["total"] - event["done"])
            case "progress":
                self._progress(FetchProgress(event["stage"], event["done"], event["total"]))
            case "arrived":
                self.arrived = event["path"]
            case "error":
                self.error = error_of(event, self._source, self._entry.size_bytes)


def error_of(event: dict[str, Any], source: Source, size_bytes: int) -> ModelError:
    """The error that a worker's report stands for."""
    hub, detail = NAMES[source.kind], without_secrets(str(event.get("detail", "")))[:400]
    match event["kind"]:
        case "network":
            return NoNetwork(source=hub, detail=detail)
        case "access":
            return AccessDenied(source=hub, name=source.repo, detail=detail)
        case "hash":
            return WrongHash(name=event["name"], actual=event["actual"], expected=event["expected"])
        case "disk":
            place = cache_of(source)
            free_bytes = shutil.disk_usage(place).free if place.exists() else 0
            return DiskFull(needed_bytes=size_bytes, free_bytes=free_bytes, path=str(place))
        case "package":
            return MissingPackage(package=event["name"])
    return DownloadFailed(name=source.repo, source=hub, detail=detail)
