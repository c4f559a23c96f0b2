"""/v1/completions: a raw prompt goes on, without a chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llm.api import conversion
from llm.api.answers import Heading, Numbered, all_whole, finish_reason, numbered, streamed, usage_of_all, watched
from llm.api.bodies import BoundedRoute
from llm.api.models import entry_of
from llm.api.refusals import counts_usage, refuse_as_openai, with_seed
from llm.api.schemas import CompletionRequest
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.errors import InvalidRequest, UnsupportedContent
from llm.events import Event, Finished, TextDelta, Token, Usage
from llm.runtime import handles

DEFAULT_TOKENS = 16
"""OpenAI's default for this endpoint."""
MAX_ANSWERS = 64
"""In one request: each is written after the other."""


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["completions"], route_class=BoundedRoute)

    @group.post("/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> dict[str, Any] | Response:
        """The text that follows a prompt, whole or as server-sent events."""

        refuse_as_openai(body)
        prompts, each = _prompts(body), body.n or 1
        if len(prompts) * each > MAX_ANSWERS:
            raise InvalidRequest(detail=f"at most {MAX_ANSWERS} answers a request", param="prompt")

        def events(cancel: Cancel) -> Iterator[Numbered]:
            return numbered(
                [
                    partial(_events, with_seed(body, number), prompt, request, cancel)
                    for prompt in prompts
                    for number in range(each)
                ]
            )

        heading = Heading.of("text_completion", "cmpl", body.model)
        echoes = [str(prompt) if body.echo else "" for prompt in prompts for _ in range(each)]
        writer = _Chunks(heading, body, [len(echo) for echo in echoes], each)
        if body.stream:
            opening = [writer.chunk(number, echo) for number, echo in enumerate(echoes) if echo]
            return await streamed(Work(request, body.model, events), opening, writer.of)
        answers = await result(request, body.model, lambda cancel: all_whole(events(cancel)))
        choices = [
            {
                "index": number,
                "text": f"{echoes[number]}{answer.text}",
                "logprobs": writer.logprobs(number, answer.tokens),
                "finish_reason": finish_reason(answer.end),
            }
            for number, answer in enumerate(answers)
        ]
        return heading.wrap(choices, usage=usage_of_all([answer.end.usage for answer in answers], each))

    return group


def _prompts(body: CompletionRequest) -> list[str | list[int]]:
    given: Any = body.prompt
    several = isinstance(given, list) and given and isinstance(given[0], (str, list))
    prompts: list[str | list[int]] = given if several else [given]
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidRequest(detail="echo needs a prompt of text", param="echo")
    return prompts


def _events(body: CompletionRequest, prompt: str | list[int], request: Request, cancel: Cancel) -> Iterator[Event]:
    entry = entry_of(body.model, request)
    model = handles.chat(entry)
    if not model.can_complete:
        raise UnsupportedContent(model=entry.id, content="a raw prompt", accepted="conversations")
    try:
        settings = conversion.settings(body, model.entry, DEFAULT_TOKENS)
        settings = replace(settings, logprobs=body.logprobs)
    except ValueError as error:
        raise InvalidRequest(detail=str(error)) from error
    yield from watched(model.complete(prompt, settings, cancel), entry, request, cancel)


@dataclass(slots=True)
class _Chunks:
    """Writes an answer's events as chunks."""

    heading: Heading
    body: CompletionRequest
    offsets: list[int]
    each: int
    usages: list[Usage] = field(default_factory=list)

    def of(self, item: Numbered) -> Iterator[dict[str, Any]]:
        number, event = item
        if isinstance(event, TextDelta) and (event.text or event.tokens):
            yield self.chunk(number, event.text, logprobs=self.logprobs(number, event.tokens))
        elif isinstance(event, Finished):
            self.usages.append(event.usage)
            yield self.chunk(number, "", finish_reason=finish_reason(event))
            if counts_usage(self.body) and len(self.usages) == len(self.offsets):
                yield self.heading.wrap([], usage=usage_of_all(self.usages, self.each))

    def chunk(self, number: int, text: str, **values: Any) -> dict[str, Any]:
        choice = {"index": number, "text": text, "logprobs": None, "finish_reason": None, **values}
        return self.heading.wrap([choice]) | ({"usage": None} if counts_usage(self.body) else {})

    def logprobs(self, number: int, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """Parallel lists, as this endpoint has them. Offsets are in characters of the text, an echo included."""
        told = [token for token in tokens if token.logprob is not None]
        if self.body.logprobs is None or not told:
            return None
        offsets = []
        for token in told:
            offsets.append(self.offsets[number])
            self.offsets[number] += len(token.text)
        tops = [token.alternatives[: self.body.logprobs] for token in told]
        return {
            "tokens": [token.text for token in told],
            "token_logprobs": [max(token.logprob or 0.0, -9999.0) for token in told],
            "top_logprobs": [{other.text: max(other.logprob, -9999.0) for other in top} for top in tops],
            "text_offset": offsets,
        }
