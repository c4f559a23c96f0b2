"""/v1/chat/completions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llm.api import conversion
from llm.api.answers import (
    Answer,
    Heading,
    Numbered,
    all_whole,
    finish_reason,
    numbered,
    streamed,
    usage_of_all,
    watched,
)
from llm.api.bodies import BoundedRoute
from llm.api.json_schema import CheckedSchema, checked
from llm.api.models import entry_of
from llm.api.refusals import counts_usage, refuse_as_openai, with_seed
from llm.api.schemas import ChatRequest
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.errors import InvalidRequest
from llm.events import Event, Finished, TextDelta, ThinkingDelta, Token, ToolCallReady, Usage
from llm.messages import ToolCallPart
from llm.runtime import handles


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["chat"], route_class=BoundedRoute)

    @group.post("/chat/completions", response_model=None)
    async def chat(body: ChatRequest, request: Request) -> dict[str, Any] | Response:
        """An answer to a conversation, whole or as server-sent events."""

        refuse_as_openai(body)
        each = body.n or 1

        def events(cancel: Cancel) -> Iterator[Numbered]:
            return numbered(
                [partial(answer_events, with_seed(body, number), request, cancel) for number in range(each)]
            )

        if not body.stream:
            answers = await result(request, body.model, lambda cancel: all_whole(events(cancel)))
            heading = Heading.of("chat.completion", "chatcmpl", body.model)
            choices = [_choice(number, answer, body) for number, answer in enumerate(answers)]
            return heading.wrap(choices, usage=usage_of_all([answer.end.usage for answer in answers], each))
        writer = _Chunks(Heading.of("chat.completion.chunk", "chatcmpl", body.model), body)
        return await streamed(Work(request, body.model, events), writer.opening(), writer.of)

    return group


def answer_events(body: ChatRequest, request: Request, cancel: Cancel) -> Iterator[Event]:
    """The answer's events. Runs in a thread, since it may load the model.

    Raises:
        InvalidRequest, UnsupportedContent, and whatever `llm.load` and the model raise.
    """
    entry = entry_of(body.model, request)
    handles.require(entry, entry.converses, "a conversation")
    # Before any is fetched.
    handles.require(entry, not conversion.has_pictures(body.messages) or "image" in entry.abilities, "images")
    messages = conversion.messages(body.messages)
    tools = conversion.tools(body)
    model = handles.chat(entry)
    try:
        settings = conversion.settings(body, model.entry, model.context_tokens)
        settings = replace(
            settings,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            thinking=_thinking(body),
            json_schema=_schema(body),
        )
    except ValueError as error:
        raise InvalidRequest(detail=str(error)) from error
    handles.require(entry, not tools or model.takes_tools, "tools")
    forced = bool(tools) and body.tool_choice not in (None, "auto")
    if forced:
        settings = replace(settings, json_schema=conversion.call_schema(tools))
    held_to = None
    if settings.json_schema is not None:
        held_to = checked(settings.json_schema, "tools" if forced else "response_format")
        shown = held_to.for_engine
        if tools and not forced:  # a call, or an answer by the schema: the model chooses
            call = checked(conversion.call_schema(tools), "tools").for_engine
            shown = {"anyOf": [conversion.moved(shown, "#/anyOf/0"), conversion.moved(call, "#/anyOf/1")]}
        settings = replace(settings, json_schema=shown)
    written = model.stream(messages, settings, cancel, tools or None, keep_all=True)
    answered = watched(written, entry, request, cancel)
    if held_to is not None:
        answered = _held_to(held_to, answered)
    yield from _as_call(answered) if forced else _with_ids(answered, alone=body.parallel_tool_calls is False)


def _schema(body: ChatRequest) -> dict[str, Any] | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    return dict(wanted.json_schema.schema_) if wanted.json_schema else {"type": "object"}


def _thinking(body: ChatRequest) -> bool | None:
    """Whether to think first, in the ways that clients say so; None where none does."""
    told = body.chat_template_kwargs
    reasoning = body.reasoning
    by_effort = reasoning.effort != "none" if reasoning and reasoning.effort is not None else None
    said = (
        body.thinking,
        body.enable_thinking,
        told.enable_thinking if told else None,
        told.thinking if told else None,
        reasoning.enabled if reasoning else None,
        by_effort,
    )
    return next((value for value in said if value is not None), None)


def _held_to(schema: CheckedSchema, events: Iterator[Event]) -> Iterator[Event]:
    """The same events. Engines leave out what they don't know of JSON schema, so the end is checked.

    Raises:
        InvalidRequest: the answer doesn't follow the schema.
    """
    written = ""
    for event in events:
        if isinstance(event, TextDelta):
            written += event.text
        if isinstance(event, Finished) and event.reason == "stop":
            try:
                schema.check(written)
            except ValueError as error:
                detail = f"the answer does not follow the schema, of which the engine knows a part only: {error}"
                raise InvalidRequest(detail=detail, param="response_format") from error
        yield event


def _with_ids(events: Iterator[Event], alone: bool = False) -> Iterator[Event]:
    """The same with ids for calls that are unique for ever, since clients keep them. alone: the first call only."""
    called = False
    for event in events:
        if isinstance(event, ToolCallReady):
            if alone and called:
                continue
            called = True
            event = ToolCallReady(replace(event.call, id=f"call_{uuid.uuid4().hex[:24]}"))
        yield event


def _as_call(events: Iterator[Event]) -> Iterator[Event]:
    """An answer that was held to a call's schema, as that call. One that was cut short stays words."""
    written = ""
    for event in events:
        if isinstance(event, TextDelta):
            written += event.text
        elif isinstance(event, Finished) and event.reason == "stop":
            call = json.loads(written)
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            yield from _with_ids(iter([ToolCallReady(ToolCallPart("", call["name"], arguments))]))
            yield replace(event, reason="tool_calls")
        elif isinstance(event, Finished):
            yield TextDelta(written)
            yield event
        else:
            yield event


def _choice(number: int, answer: Answer, body: ChatRequest) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["content"] = answer.text or None
        if body.functions:
            message["function_call"] = _call(answer.calls[0])["function"]
        else:
            message["tool_calls"] = [_call(call) for call in answer.calls]
    return {
        "index": number,
        "message": message,
        "logprobs": {"content": logprobs(answer.tokens, body.top_logprobs or 0)} if body.logprobs else None,
        "finish_reason": _finish_reason(answer.end, body),
    }


def _finish_reason(end: Finished, body: ChatRequest) -> str:
    reason = finish_reason(end)
    return "function_call" if body.functions and reason == "tool_calls" else reason


def _call(call: ToolCallPart) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprobs(tokens: Sequence[Token], top: int) -> list[dict[str, Any]]:
    return [
        {
            **_likelihood(token.text, token.logprob),
            "top_logprobs": [_likelihood(other.text, other.logprob) for other in token.alternatives[:top]],
        }
        for token in tokens
        if token.logprob is not None
    ]


def _likelihood(text: str, logprob: float | None) -> dict[str, Any]:
    # OpenAI, too, has a least value; JSON has no minus infinity.
    return {"token": text, "logprob": max(logprob or 0.0, -9999.0), "bytes": list(text.encode("utf-8", "replace"))}


@dataclass(slots=True)
class _Chunks:
    """Writes an answer's events as chunks."""

    heading: Heading
    body: ChatRequest
    calls: int = 0
    usages: list[Usage] = field(default_factory=list)

    def opening(self) -> list[dict[str, Any]]:
        opening = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk(number, opening) for number in range(self.body.n or 1)]

    def of(self, item: Numbered) -> Iterator[dict[str, Any]]:
        number, event = item
        match event:
            case TextDelta() | ThinkingDelta():
                told = self._logprobs(event.tokens)
                if event.text or told:
                    name = "content" if isinstance(event, TextDelta) else "reasoning_content"
                    yield self._chunk(number, {name: event.text}, logprobs=told)
            case ToolCallReady():
                call = _call(event.call)
                if not self.body.functions:
                    yield self._chunk(number, {"tool_calls": [{"index": self.calls, **call}]})
                elif not self.calls:  # one call is all that this form can hold
                    yield self._chunk(number, {"function_call": call["function"]})
                self.calls += 1
            case Finished():
                self.calls = 0
                self.usages.append(event.usage)
                yield self._chunk(number, {}, finish_reason=_finish_reason(event, self.body))
                if counts_usage(self.body) and len(self.usages) == (self.body.n or 1):
                    yield self.heading.wrap([], usage=usage_of_all(self.usages, len(self.usages)))

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        content = logprobs(tokens, self.body.top_logprobs or 0) if self.body.logprobs else []
        return {"content": content} if content else None

    def _chunk(self, number: int, delta: dict[str, Any], **values: Any) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": None, **values}
        return self.heading.wrap([choice]) | ({"usage": None} if counts_usage(self.body) else {})
