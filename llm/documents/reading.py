"""Reading a document: in a program of its own, within limits, page by page.

One file's faults stay its own: what breaks, hangs or swells is the program that reads it.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from llm.cancel import Cancel
from llm.documents.document import Document, Note, Page
from llm.documents.errors import (
    DamagedDocument,
    DocumentTooHeavy,
    DocumentTooLarge,
    DocumentUnreadable,
    EmptyDocument,
    NeedsSpeechModel,
)
from llm.documents.kinds import kind_of
from llm.documents.source import Limits
from llm.documents.times import Cue, timed_pages
from llm.errors import ChildFailed, ChildTookTooLong, ChildTookTooMuch
from llm.jobs.child import ChildLimits, run_child

Transcribe: TypeAlias = Callable[[Path, Cancel], Iterable[Cue]]
"""Writes down a recording: start and end in seconds, and what is said, in order."""
_LIMITS = Limits()


def read_document(
    path: Path,
    name: str,
    limits: Limits = _LIMITS,
    cancel: Cancel | None = None,
    on_page: Callable[[Page], None] | None = None,
    encoding: str = "",
    transcribe: Transcribe | None = None,
) -> Document:
    """The pages of a document. Nothing is fetched, and nothing in it is run.

    Args:
        name: what people call the file; its ending counts where the bytes do not tell the kind.
        on_page: called with each page as soon as it has been read, in this thread.
        encoding: of a text file, where the guess was wrong; one of `llm.documents.encodings.ENCODINGS`.
        transcribe: writes down recordings, which are read in this process; None refuses them.

    Raises:
        DocumentUnreadable: and its kinds, each with a sentence that says why.
        Cancelled: `cancel` was set.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DocumentUnreadable(name=name, detail=error.strerror or "it is gone") from error
    if not stat.S_ISREG(status.st_mode):
        raise DocumentUnreadable(name=name, detail="it is no file")
    if status.st_size == 0:
        raise EmptyDocument(name=name)
    if status.st_size > limits.file_bytes:
        raise DocumentTooLarge(name=name, size=_mib(status.st_size), limit=_mib(limits.file_bytes))
    kind = kind_of(path, name)
    pages: list[Page] = []

    def keep(page: Page) -> None:
        pages.append(page)
        if on_page is not None:
            on_page(page)

    if not kind.read:
        if transcribe is None:
            raise NeedsSpeechModel(name=name)
        for page in timed_pages(transcribe(path, cancel or Cancel())):
            keep(page)
        return _document(name, kind.name, pages)

    def take(event: dict[str, Any]) -> None:
        if event["event"] == "page":
            keep(Page.of(event["page"]))

    params = {"path": str(path.resolve()), "name": name, "kind": kind.name, "encoding": encoding}
    bounds = ChildLimits(limits.memory_bytes, limits.wall_s)
    with tempfile.TemporaryDirectory(prefix="hearth-document-", ignore_cleanup_errors=True) as folder:
        try:
            result = run_child(
                "llm.documents.worker", {**params, "limits": asdict(limits)}, Path(folder), cancel, take, bounds
            )
        except ChildTookTooMuch as error:
            raise DocumentTooHeavy(name=name, limit=_mib(limits.memory_bytes)) from error
        except ChildTookTooLong as error:
            raise DocumentTooHeavy(name=name, limit=f"{limits.wall_s:.0f} s") from error
        except ChildFailed as error:
            raise DamagedDocument(name=name, kind=kind.name, detail=error.values["detail"]) from error
    notes = tuple((code, values) for code, values in result["notes"])
    return _document(name, kind.name, pages, result["encoding"], notes)


def _document(
    name: str, kind: str, pages: Sequence[Page], encoding: str = "", notes: tuple[Note, ...] = ()
) -> Document:
    if not any(page.blocks for page in pages):
        raise EmptyDocument(name=name)
    return Document(name, kind, tuple(pages), encoding, notes)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.0f} MiB"
