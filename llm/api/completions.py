"""/v1/completions: a raw prompt goes on, without a chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llm.api import conversion
from llm.api.answers import Heading, finish_reason, streamed, usage_of, watched, whole
from llm.api.bodies import BoundedRoute
from llm.api.models import entry_of
from llm.api.schemas import CompletionRequest
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.errors import InvalidRequest, UnsupportedContent
from llm.events import Event, Finished, TextDelta, Token
from llm.runtime import handles

DEFAULT_TOKENS = 16
"""OpenAI's default for this endpoint."""


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["completions"], route_class=BoundedRoute)

    @group.post("/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> dict[str, Any] | Response:
        """The text that follows a prompt, whole or as server-sent events."""

        def events(cancel: Cancel) -> Iterator[Event]:
            return _events(body, request, cancel)

        heading = Heading.of("text_completion", "cmpl", body.model)
        echo = _prompt(body) if body.echo else ""
        writer = _Chunks(heading, body)
        if body.stream:
            opening = [writer.chunk(str(echo))] if echo else []
            return await streamed(Work(request, body.model, events), opening, writer.of)
        answer = await result(request, body.model, lambda cancel: whole(events(cancel)))
        choice = {
            "index": 0,
            "text": f"{echo}{answer.text}",
            "logprobs": writer.logprobs(answer.tokens),
            "finish_reason": finish_reason(answer.end),
        }
        return heading.wrap([choice], usage=usage_of(answer.end.usage))

    return group


def _prompt(body: CompletionRequest) -> str | list[int]:
    prompt: Any = body.prompt
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
        if len(prompt) > 1:
            raise InvalidRequest(detail="one prompt a request", param="prompt")
        prompt = prompt[0]
    if body.echo and not isinstance(prompt, str):
        raise InvalidRequest(detail="echo needs a prompt of text", param="echo")
    answer: str | list[int] = prompt
    return answer


def _events(body: CompletionRequest, request: Request, cancel: Cancel) -> Iterator[Event]:
    entry = entry_of(body.model, request)
    model = handles.chat(entry)
    if not model.can_complete:
        raise UnsupportedContent(model=entry.id, content="a raw prompt", accepted="conversations")
    try:
        settings = conversion.settings(body, model.entry, DEFAULT_TOKENS)
        settings = replace(settings, logprobs=body.logprobs)
    except ValueError as error:
        raise InvalidRequest(detail=str(error)) from error
    yield from watched(model.complete(_prompt(body), settings, cancel), entry, request, cancel)


@dataclass(slots=True)
class _Chunks:
    """Writes an answer's events as chunks."""

    heading: Heading
    body: CompletionRequest
    offset: int = 0

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        if isinstance(event, TextDelta) and (event.text or event.tokens):
            yield self.chunk(event.text, logprobs=self.logprobs(event.tokens))
        elif isinstance(event, Finished):
            yield self.chunk("", finish_reason=finish_reason(event))
            if self.body.stream_options and self.body.stream_options.include_usage:
                yield self.heading.wrap([], usage=usage_of(event.usage))

    def chunk(self, text: str, **values: Any) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None, **values}
        return self.heading.wrap([choice])

    def logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """Parallel lists, as this endpoint has them. Offsets are in characters of the answer."""
        told = [token for token in tokens if token.logprob is not None]
        if self.body.logprobs is None or not told:
            return None
        offsets = []
        for token in told:
            offsets.append(self.offset)
            self.offset += len(token.text)
        tops = [token.alternatives[: self.body.logprobs] for token in told]
        return {
            "tokens": [token.text for token in told],
            "token_logprobs": [max(token.logprob or 0.0, -9999.0) for token in told],
            "top_logprobs": [{other.text: max(other.logprob, -9999.0) for other in top} for top in tops],
            "text_offset": offsets,
        }
