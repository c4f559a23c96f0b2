"""/v1/knowledge: bases of documents, searched, and asked with citations. Whose they are, the caller's key says."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from llm.api.answers import streamed
from llm.api.bodies import BoundedRoute
from llm.api.kept_responses import caller_of
from llm.api.models import entry_of
from llm.api.schemas import Body, Loose
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.catalogue.lookup import starter_id
from llm.config import config
from llm.errors import NotFound
from llm.events import Event, Finished, Noted, TextDelta
from llm.knowledge import answers, reading
from llm.knowledge.library import Library
from llm.knowledge.search import search
from llm.knowledge.values import Base, KnownDocument, Passage
from llm.messages import Message, TextPart
from llm.runtime import handles
from llm.settings import GenerationSettings

Id = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=8000)]


class BaseAsked(Body):
    name: str = Field(min_length=1, max_length=200)
    shared: bool = False
    embedder: str | None = Field(None, max_length=1024)


class SearchAsked(Body):
    query: Text
    top_k: int = Field(10, ge=1, le=50)


class Turn(Loose):
    role: Literal["user", "assistant"]
    content: str = Field(max_length=32_000)


class Question(Body):
    question: Text
    model: str = Field("", max_length=1024)
    past: list[Turn] = Field([], max_length=50)
    off: list[int] = Field([], max_length=200)
    way: Literal["written", "extractive", "without"] = "written"
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=8192)


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/knowledge", tags=["knowledge"], route_class=BoundedRoute)
    bases(group)
    documents(group)
    questions(group)
    return group


def bases(group: APIRouter) -> None:
    @group.get("")
    async def all_bases(request: Request) -> dict[str, Any]:
        """The caller's bases, and those shared with everybody."""
        found = await run_in_threadpool(Library(caller_of(request)).bases)
        return {"object": "list", "data": [_base(base, request) for base in found]}

    @group.post("")
    async def create(body: BaseAsked, request: Request) -> dict[str, Any]:
        """A new base. Without `embedder` the one that is here compares meaning; an empty one leaves it to words."""
        embedder = reading.default_embedder() if body.embedder is None else body.embedder
        if embedder:
            await run_in_threadpool(entry_of, embedder, request)
        library = Library(caller_of(request))
        return _base(await run_in_threadpool(library.create_base, body.name, body.shared, embedder), request)

    @group.get("/{base}")
    async def one_base(base: Id, request: Request) -> dict[str, Any]:
        """A base, and whether it is being read now."""
        library = Library(caller_of(request))
        found = await run_in_threadpool(library.base, base)
        job = await run_in_threadpool(reading.at_work, library, base)
        return _base(found, request) | {"reading": job is not None}

    @group.delete("/{base}")
    async def delete_base(base: Id, request: Request) -> dict[str, Any]:
        """Deletes a base with everything in it."""
        await run_in_threadpool(Library(caller_of(request)).delete_base, base)
        return {"id": base, "object": "knowledge.base", "deleted": True}


def documents(group: APIRouter) -> None:
    @group.get("/{base}/documents")
    async def all_documents(base: Id, request: Request) -> dict[str, Any]:
        """The documents of a base, with what became of each."""
        found = await run_in_threadpool(Library(caller_of(request)).documents, base)
        return {"object": "list", "data": [_document(document) for document in found]}

    @group.post("/{base}/documents", max_body_size=config().api_upload_mib << 20)
    async def add(
        base: Id,
        request: Request,
        file: Annotated[UploadFile, File()],
        encoding: Annotated[str, Form(max_length=40)] = "",
    ) -> dict[str, Any]:
        """Adds a file (form field `file`), which is read in the background until its `state` is ready or failed."""
        library, data = Library(caller_of(request)), await file.read()

        def keep() -> KnownDocument:
            document = library.add(base, file.filename or "document", data, encoding=encoding)
            reading.start(library, base)
            return document

        return _document(await run_in_threadpool(keep))

    @group.get("/{base}/documents/{document}")
    async def one(base: Id, document: Id, request: Request) -> dict[str, Any]:
        """One document."""
        return _document(await run_in_threadpool(_of_base, Library(caller_of(request)), base, document))

    @group.delete("/{base}/documents/{document}")
    async def delete(base: Id, document: Id, request: Request) -> dict[str, Any]:
        """Deletes a document with its text, words and vectors."""
        library = Library(caller_of(request))

        def forget() -> None:
            library.delete_document(_of_base(library, base, document).id)

        await run_in_threadpool(forget)
        return {"id": document, "object": "knowledge.document", "deleted": True}


def questions(group: APIRouter) -> None:
    @group.post("/{base}/search")
    async def find(base: Id, body: SearchAsked, request: Request) -> dict[str, Any]:
        """The passages that fit, the best first."""
        library = Library(caller_of(request))
        found = await result(
            request, base, lambda cancel: search(library, base, body.query, body.top_k, cancel=cancel)
        )  # fmt: skip
        data = [
            _passage(number, hit.passage)
            | {"score": hit.score, "by_words": hit.by_words, "by_meaning": hit.by_meaning, "similarity": hit.similarity}
            for number, hit in enumerate(found.hits, start=1)
        ]
        return {"object": "list", "data": data, "by_meaning": found.by_meaning, "seconds": found.seconds}

    @group.post("/{base}/ask", response_model=None)
    async def ask(base: Id, body: Question, request: Request) -> Any:
        """An answer with its citations: as one object, or as events (`delta`, then `answer` with everything)."""
        library = Library(caller_of(request))
        await run_in_threadpool(library.base, base)

        def make(cancel: Cancel) -> Generator[Event, None, None]:
            return _answer(library, base, body, request, cancel)

        if body.stream:
            told = _Told(library)
            return await streamed(Work(request, body.model or base, make), [], told.chunks)

        def whole(cancel: Cancel) -> dict[str, Any]:
            told = _Told(library)
            for event in make(cancel):
                told.take(event)
            return told.answer()

        return await result(request, body.model or base, whole)


def _answer(
    library: Library, base: str, body: Question, request: Request, cancel: Cancel
) -> Generator[Event, None, None]:
    """Raises as `llm.knowledge.answers.answer`."""
    model = None
    if body.way != "extractive":
        model = handles.chat(entry_of(body.model or starter_id("text-generation"), request))
    given: Mapping[str, Any] = {"temperature": body.temperature, "max_length": body.max_tokens}
    settings = GenerationSettings().with_values({name: value for name, value in given.items() if value is not None})
    past = [Message(turn.role, (TextPart(turn.content),)) for turn in body.past]
    yield from answers.answer(library, base, body.question, model, settings, cancel, past, body.off, body.way)


class _Told:
    """What has come of an answer so far."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._text: list[str] = []
        self._run: Mapping[str, Any] = {}
        self._usage: dict[str, int] = {}

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self._text.append(text)
            case Noted(values=values):
                self._run = values["knowledge"]
            case Finished(usage=usage):
                self._usage = asdict(usage)

    def chunks(self, event: Event) -> Iterator[dict[str, Any]]:
        """The events of a stream."""
        self.take(event)
        if isinstance(event, TextDelta):
            yield {"type": "delta", "text": event.text}
        elif isinstance(event, Finished):
            yield {"type": "answer", **self.answer()}

    def answer(self) -> dict[str, Any]:
        sent = self._run.get("sent", [])
        passages = self._library.passages(sent)
        cited = [_passage(number, passages[one]) for number, one in enumerate(sent, start=1) if one in passages]
        kept = ("verdict", "way", "searched", "sentences", "seconds", "left_out")
        return {
            "object": "knowledge.answer",
            "answer": "".join(self._text),
            **{name: self._run[name] for name in kept if name in self._run},
            "passages": cited,
            "usage": self._usage,
        }


def _of_base(library: Library, base: str, document_id: str) -> KnownDocument:
    document = library.document(document_id)
    if document.base_id != base:
        raise NotFound(what="document", id=document_id)
    return document


def _base(base: Base, request: Request) -> dict[str, Any]:
    return {
        "id": base.id,
        "object": "knowledge.base",
        "name": base.name,
        "mine": base.owner == caller_of(request),
        "shared": base.shared,
        "embedder": base.embedder,
        "created": int(base.created_at),
    }


def _document(document: KnownDocument) -> dict[str, Any]:
    error = {"code": document.error_code, **document.error_values} if document.error_code else None
    return {
        "id": document.id,
        "object": "knowledge.document",
        "name": document.name,
        "state": document.state,
        "kind": document.kind,
        "encoding": document.encoding,
        "bytes": document.size_bytes,
        "pages": document.pages,
        "passages": document.passages,
        "error": error,
        "notes": [{"code": code, **values} for code, values in document.notes],
    }


def _passage(number: int, passage: Passage) -> dict[str, Any]:
    return {
        "number": number,
        "id": passage.id,
        "document": passage.document,
        "document_id": passage.document_id,
        "page": passage.page,
        "place": passage.label,
        "start_s": passage.start_s,
        "text": passage.text,
        "context": passage.context,
        "boxes": [{"page": page, "box": list(box)} for page, box in passage.boxes],
    }
