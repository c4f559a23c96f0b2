"""The program that reads one document: `python -m llm.documents.worker <folder>`, see `llm.jobs.child`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llm.documents.document import Page
from llm.documents.errors import DocumentTooHeavy
from llm.documents.kinds import KINDS
from llm.documents.source import Limits, Source
from llm.errors import Cancelled
from llm.jobs.child import Emitter, child_main

_SLACK_BYTES = 2 << 30
"""Address space beyond memory: libraries that are mapped, stacks of threads."""


def read(emitter: Emitter) -> dict[str, Any]:
    """Emits each page of the document that the parameters name; returns its encoding and notes."""
    params = emitter.params
    limits = Limits(**params["limits"])
    _bound_memory(limits.memory_bytes + _SLACK_BYTES)
    source = Source(Path(params["path"]), params["name"], limits, params["encoding"], emitter.cancel)
    try:
        _emit_pages(emitter, source, KINDS[params["kind"]].reader())
    except MemoryError as error:
        raise DocumentTooHeavy(name=source.name, limit=f"{limits.memory_bytes >> 20} MiB") from error
    return {"encoding": source.encoding, "notes": source.notes}


def _emit_pages(emitter: Emitter, source: Source, reader: Callable[[Source], Iterator[Page]]) -> None:
    characters = 0
    for page in reader(source):
        if emitter.cancel.is_set():
            raise Cancelled(what=source.name)
        characters += sum(len(block.text) for block in page.blocks)
        if page.number > source.limits.pages or characters > source.limits.characters:
            source.note("cut", page=page.number)
            break
        emitter.emit("page", page=_whole(page.to_dict()))


def _whole(page: dict[str, Any]) -> dict[str, Any]:
    """A page without halves of characters: joined where both are there, else U+FFFD.

    PDFium gives a rare Chinese character or an emoji in two, files of data may hold one half alone, and no file or
    database takes either.
    """
    text = json.dumps(page, ensure_ascii=False).encode("utf-16", "surrogatepass")
    whole: dict[str, Any] = json.loads(text.decode("utf-16", "replace"))
    return whole


def _bound_memory(limit_bytes: int) -> None:
    """One sudden allocation must not take the machine down before the parent looks again; Windows has no such bound."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    child_main(read)
