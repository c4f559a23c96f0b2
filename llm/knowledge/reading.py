"""The background work of a base: documents are read and cut, then their vectors are made. Both go on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.catalogue.lookup import find, where
from llm.documents.chunks import chunks
from llm.documents.document import Document
from llm.documents.reading import read_document
from llm.errors import Cancelled, ModelError, NotFound
from llm.jobs import Job, JobRecord, jobs
from llm.knowledge import vectors
from llm.knowledge.library import Library, file_of
from llm.knowledge.values import KnownDocument
from llm.knowledge.words import estimated_tokens


def start(library: Library, base_id: str, title: str = "") -> JobRecord:
    """Reads what waits in a base and makes its vectors; the job that is at it already where there is one."""
    running = at_work(library, base_id)
    if running is not None:
        return running
    base = library.base(base_id)
    return jobs().start("knowledge.read", title or base.name, {"base": base_id}, base.owner)


def at_work(library: Library, base_id: str) -> JobRecord | None:
    """The job that reads a base now."""
    for job in jobs().all(library.owner, "knowledge.read"):
        if job.active and job.params["base"] == base_id:
            return job
    return None


def latest_work(library: Library, base_id: str) -> JobRecord | None:
    """The job that reads a base, or that was ended before everything had been read."""
    newest = next((job for job in jobs().all(library.owner, "knowledge.read") if job.params["base"] == base_id), None)
    if newest is None or newest.active:
        return newest
    return newest if newest.state != "done" and _waiting(library, base_id) else None


def read_base(job: Job) -> dict[str, Any]:
    """The job: every document that waits, one after the other; one that cannot be read stops nobody."""
    library, base_id = Library(job.owner), job.params["base"]
    read = failed = 0
    while waiting := _waiting(library, base_id):
        for document in waiting:
            if job.cancel.is_set():
                raise Cancelled(what=document.name)
            job.progress(read + failed, read + failed + len(_waiting(library, base_id)), "documents", "reading")
            if _read(library, document, job):
                read += 1
            else:
                failed += 1
    return {"read": read, "failed": failed, "vectors": vectors.make(library, base_id, job)}


def _waiting(library: Library, base_id: str) -> list[KnownDocument]:
    try:
        documents = library.documents(base_id)
    except NotFound:  # the base was deleted meanwhile
        return []
    return [document for document in reversed(documents) if document.state in ("queued", "reading")]


def _read(library: Library, document: KnownDocument, job: Job) -> bool:
    library.set_state(document.id, "reading")
    try:
        read = read_document(file_of(document.sha256), document.name, cancel=job.cancel, encoding=document.encoding)
        keep(library, document, read)
    except Cancelled:
        library.set_state(document.id, "queued")
        raise
    except NotFound:  # deleted while it was read
        return False
    except ModelError as error:
        library.set_state(document.id, "failed", error.code, **error.values)
        job.log(f"{document.name}: {error}")
        return False
    return True


def keep(library: Library, document: KnownDocument, read: Document) -> None:
    """Cuts what was read by the size of its base, and keeps it."""
    size = library.base(document.base_id).size
    library.keep_read(document.id, read, chunks(read, estimated_tokens, size, size // 10))


def read_again(library: Library, document_id: str, encoding: str) -> JobRecord:
    """Reads a text file in another encoding. Raises NotFound."""
    document = library.document(document_id)
    library.set_encoding(document_id, encoding)
    return start(library, document.base_id)


def cut_again(library: Library, base_id: str, size: int) -> JobRecord:
    """Cuts all documents of a base anew, from what was read. Raises NotFound."""
    library.change_base(base_id, size=size)
    for document in library.documents(base_id):
        if document.state == "ready":
            keep(library, document, as_read(library, document))
    return start(library, base_id)


def as_read(library: Library, document: KnownDocument) -> Document:
    """A document as it was read before."""
    pages = tuple(library.pages(document.id))
    return Document(document.name, document.kind, pages, document.encoding, document.notes)


def embedders() -> Sequence[str]:
    """The ids of the models here that can compare meaning, the best known first."""
    from llm.catalogue.lookup import entries_for

    return [entry.id for entry in entries_for("feature-extraction") if where(entry)]


def default_embedder() -> str:
    """The model that a new base compares meaning with: one that is here, else none."""
    here = embedders()
    return here[0] if here else ""


def is_here(model_id: str) -> bool:
    """Whether a base's embedder can be loaded."""
    try:
        return bool(model_id) and where(find(model_id)) is not None
    except ModelError:
        return False
