"""What chat and completions share: events of an answer from a thread, and server-sent events to the client."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request
from starlette.responses import StreamingResponse

from llm.api import errors
from llm.api.work import Work
from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.errors import ModelError
from llm.events import Event, Finished, TextDelta, ThinkingDelta, Token, ToolCallReady, Usage
from llm.messages import ToolCallPart

SILENCE_S = 15.0
"""A comment is sent after this long without a token, so that proxies don't take the connection for dead."""


@dataclass(slots=True)
class Answer:
    """A whole answer."""

    text: str = ""
    thinking: str = ""
    tokens: list[Token] = field(default_factory=list)
    calls: list[ToolCallPart] = field(default_factory=list)
    end: Finished = field(default_factory=lambda: Finished("cancelled"))

    def add(self, event: Event) -> None:
        match event:
            case TextDelta():
                self.text += event.text
                self.tokens += event.tokens
            case ThinkingDelta():
                self.thinking += event.text
                self.tokens += event.tokens
            case ToolCallReady():
                self.calls.append(event.call)
            case Finished():
                self.end = event


def finish_reason(end: Finished) -> str:
    """By OpenAI's words: an answer that was ended because it repeated itself is one that was cut."""
    return "length" if end.reason == "repetition" else end.reason


def whole(events: Iterator[Event]) -> Answer:
    answer = Answer()
    for event in events:
        answer.add(event)
    return answer


Numbered = tuple[int, Event]
"""An event with the number of the answer that it belongs to, of several to one request."""


def numbered(answers: Sequence[Callable[[], Iterator[Event]]]) -> Iterator[Numbered]:
    """The events of several answers, one after the other."""
    for number, events in enumerate(answers):
        for event in events():
            yield number, event


def all_whole(events: Iterator[Numbered]) -> list[Answer]:
    answers: list[Answer] = []
    for number, event in events:
        if number == len(answers):
            answers.append(Answer())
        answers[number].add(event)
    return answers


def usage_of_all(usages: Sequence[Usage], each: int) -> dict[str, Any]:
    """The usage of a request with `each` answers to every prompt, whose tokens count once."""
    prompts = usages[::each]
    return usage_of(
        replace(
            usages[0],
            prompt_tokens=sum(usage.prompt_tokens for usage in prompts),
            cached_tokens=sum(usage.cached_tokens for usage in prompts),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
        )
    )


def watched(events: Iterator[Event], entry: ModelEntry, request: Request, cancel: Cancel) -> Iterator[Event]:
    """The same events, counted.

    Raises:
        ModelError: the model was closed under the answer.
    """
    try:
        for event in events:
            if isinstance(event, Finished):
                request.app.state.metrics.count(entry.id, event)
                if event.reason == "cancelled" and not cancel.is_set():
                    raise ModelError(detail="it was unloaded in the middle of an answer")
            yield event
    finally:
        events.close()  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Heading:
    """What every object of one answer begins with."""

    kind: str
    model: str
    id: str
    created: int

    @classmethod
    def of(cls, kind: str, prefix: str, model: str) -> Heading:
        return cls(kind, model, f"{prefix}-{uuid.uuid4().hex}", int(time.time()))

    def wrap(self, choices: Sequence[Any], **values: Any) -> dict[str, Any]:
        values = {name: value for name, value in values.items() if value is not None}
        return {
            "id": self.id,
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
            **values,
        }


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def line(value: dict[str, Any]) -> bytes:
    """A server-sent event that is told by its data alone."""
    return b"data: " + _json(value) + b"\n\n"


def named_line(value: dict[str, Any]) -> bytes:
    """A server-sent event that is named by its `type`."""
    return b"event: " + str(value["type"]).encode() + b"\n" + line(value)


def json_line(value: dict[str, Any]) -> bytes:
    return _json(value) + b"\n"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Wire:
    """How a protocol writes a stream. waiting: sent in a long silence. end: sent last. failed: an error's event."""

    line: Callable[[dict[str, Any]], bytes] = line
    waiting: bytes = b": waiting\n\n"
    end: bytes = b"data: [DONE]\n\n"
    failed: Callable[[Exception], dict[str, Any]] = lambda error: errors.body_of(error)[1]
    media_type: str = "text/event-stream"


OPENAI = Wire()


async def streamed(
    work: Work[Any],
    opening: Sequence[dict[str, Any]],
    chunks: Callable[[Any], Iterator[dict[str, Any]]],
    wire: Wire = OPENAI,
) -> StreamingResponse:
    """A response that is sent as it is written: `opening`, then what `chunks` makes of each item.

    Waits for the first item, so that a request that fails at once gets a status and not a broken stream.

    Raises:
        Whatever the work raises before its first item.
    """
    await work.__aenter__()
    try:
        await work.first()
    except BaseException:
        work.cancel.set()
        raise

    async def lines() -> AsyncIterator[bytes]:
        try:
            yield b"".join(map(wire.line, opening))
            async for batch in _with_signs(work.batches()):
                yield b"".join(wire.line(chunk) for item in batch for chunk in chunks(item)) if batch else wire.waiting
            yield wire.end
        except Exception as error:
            yield wire.line(wire.failed(error))
        finally:
            work.cancel.set()

    return StreamingResponse(lines(), media_type=wire.media_type, headers={"cache-control": "no-store"})


async def _with_signs(batches: AsyncIterator[list[Any]]) -> AsyncIterator[list[Any]]:
    """The batches, and an empty one after each long silence."""
    pending: asyncio.Future[list[Any]] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(batches))
            done, _ = await asyncio.wait({pending}, timeout=SILENCE_S)
            if not done:
                yield []
                continue
            finished, pending = pending, None
            try:
                yield finished.result()
            except StopAsyncIteration:
                return
    finally:
        if pending is not None:
            pending.cancel()
