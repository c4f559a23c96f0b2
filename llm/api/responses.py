"""/v1/responses: OpenAI's newer protocol (platform.openai.com/docs/api-reference/responses).

A request becomes a chat request of this API, and its answer's events become typed items. Answers are kept for
`previous_response_id` unless a caller says `store: false`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from llm.api import conversion, errors
from llm.api.answers import Wire, named_line, streamed
from llm.api.bodies import BoundedRoute
from llm.api.chat import answer_events
from llm.api.kept_responses import KeptResponses, caller_of
from llm.api.responses_schemas import Content, Item, ResponsesRequest
from llm.api.schemas import ChatRequest
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.errors import InvalidRequest
from llm.events import Event, Finished, PromptReady, TextDelta, ThinkingDelta, ToolCallReady
from llm.messages import ToolCallPart


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/responses", tags=["responses"], route_class=BoundedRoute)
    kept = KeptResponses()

    @group.post("", response_model=None)
    async def responses(body: ResponsesRequest, request: Request) -> dict[str, Any] | Response:
        """An answer as items, whole or as server-sent events."""
        caller = caller_of(request)
        before: list[dict[str, Any]] = []
        if body.previous_response_id:
            before = await run_in_threadpool(kept.conversation, body.previous_response_id, caller)
        asked = _chat_request(body, before)

        def events(cancel: Cancel) -> Iterator[Event]:
            return answer_events(asked, request, cancel)

        def keep(response: dict[str, Any]) -> None:
            if body.store:
                given = [item.model_dump(exclude_none=True) for item in body.input]
                kept.keep(response, [*before, *given], caller)

        writer = _Writer(body, keep)
        if body.stream:
            return await streamed(Work(request, body.model, events), writer.opening(), writer.of, writer.wire())

        def write(cancel: Cancel) -> dict[str, Any]:
            for event in events(cancel):
                for _ in writer.of(event):
                    pass
            return writer.response

        return await result(request, body.model, write)

    @group.get("/{response_id}")
    async def one(response_id: str, request: Request) -> dict[str, Any]:
        """A kept answer."""
        return await run_in_threadpool(kept.response, response_id, caller_of(request))

    @group.get("/{response_id}/input_items")
    async def input_items(response_id: str, request: Request) -> dict[str, Any]:
        """What a kept answer was given."""
        items = await run_in_threadpool(kept.given, response_id, caller_of(request))
        ids = [item.get("id") for item in items]
        return {
            "object": "list",
            "data": items,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": False,
        }

    @group.delete("/{response_id}")
    async def delete(response_id: str, request: Request) -> dict[str, Any]:
        """Forgets a kept answer."""
        await run_in_threadpool(kept.forget, response_id, caller_of(request))
        return {"id": response_id, "object": "response", "deleted": True}

    return group


def _chat_request(body: ResponsesRequest, before: list[dict[str, Any]]) -> ChatRequest:
    """The same as this API's own request.

    Raises:
        InvalidRequest: it says what cannot be said there.
    """
    messages: list[dict[str, Any]] = []
    if body.instructions:
        messages.append({"role": "system", "content": body.instructions})
    for item in [*(Item.model_validate(earlier) for earlier in before), *body.input]:
        _add(messages, item)
    form = body.text.format if body.text else None
    schema: dict[str, Any] | None = None
    if form is not None and form.type == "json_schema":
        schema = {"type": form.type, "json_schema": {"name": form.name, "schema": form.schema_ or {}}}
    elif form is not None:
        schema = {"type": form.type}
    choice = body.tool_choice
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name", "")}}
    functions = [{"type": "function", "function": tool.model_dump(exclude={"type"})} for tool in body.tools or ()]
    values = {
        "model": body.model,
        "messages": messages,
        "max_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "tools": functions or None,
        "tool_choice": choice,
        "response_format": schema,
        "reasoning": body.reasoning.model_dump() if body.reasoning and body.reasoning.effort else None,
        "parallel_tool_calls": body.parallel_tool_calls,
    }
    return conversion.chat_request(values)


def _add(messages: list[dict[str, Any]], item: Item) -> None:
    """Adds an item; what a model thought, said and called in one turn becomes one message."""
    last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
    match item.type:
        case "message" if item.role == "assistant" and last is not None and last.get("content") is None:
            last["content"] = _content(item.content)
        case "message":
            messages.append({"role": item.role, "content": _content(item.content)})
        case "function_call":
            call = {"id": item.call_id, "function": {"name": item.name, "arguments": item.arguments}}
            if last is None:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            else:
                last["tool_calls"] = [*(last.get("tool_calls") or ()), call]
        case "function_call_output":
            said = item.output if isinstance(item.output, str) else "".join(part.text for part in item.output or ())
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": said})
        case "reasoning":
            thought = "".join(part.text for part in item.content or () if isinstance(part, Content))
            if thought:
                messages.append({"role": "assistant", "content": None, "reasoning_content": thought})


def _content(content: str | list[Content] | None) -> str | list[dict[str, Any]]:
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.type == "input_image":
            if not part.image_url:
                raise InvalidRequest(detail="a picture needs its image_url", param="input")
            parts.append({"type": "image_url", "image_url": {"url": part.image_url}})
        elif part.type == "input_file":
            if not part.file_data:
                raise InvalidRequest(detail="a file needs its file_data", param="input")
            parts.append({"type": "file", "file": {"filename": part.filename, "file_data": part.file_data}})
        else:
            parts.append({"type": "text", "text": part.text or part.refusal})
    return parts


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


@dataclass(slots=True)
class _Writer:
    """Writes an answer's events as a response that grows item by item, and keeps it in the end."""

    body: ResponsesRequest
    keep: Any
    response: dict[str, Any] = field(default_factory=dict)
    item: dict[str, Any] | None = None
    """The item that is being written: thinking or words."""
    number: int = 0

    def __post_init__(self) -> None:
        body = self.body
        self.response = {
            "id": _new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": body.store,
            "temperature": body.temperature,
            "text": {"format": self._format()},
            "tool_choice": body.tool_choice or "auto",
            "tools": [{**tool.model_dump(), "strict": False} for tool in body.tools or ()],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    def opening(self) -> list[dict[str, Any]]:
        return [self._told("response.created", self._now()), self._told("response.in_progress", self._now())]

    def wire(self) -> Wire:
        return Wire(named_line, end=b"", failed=self._failed)

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case PromptReady():
                return
            case ThinkingDelta() if event.text:
                yield from self._grown("reasoning", "reasoning_text", event.text)
            case TextDelta() if event.text:
                yield from self._grown("message", "output_text", event.text)
            case ToolCallReady():
                yield from self._closed()
                yield from self._called(event.call)
            case Finished():
                if self.item is None and not self.response["output"]:
                    yield from self._opened("message", "output_text")
                yield from self._closed()
                yield from self._ended(event)

    def _grown(self, kind: str, part: str, text: str) -> Iterator[dict[str, Any]]:
        if self.item is None or self.item["type"] != kind:
            yield from self._closed()
            yield from self._opened(kind, part)
        assert self.item is not None
        self.item["content"][0]["text"] += text
        yield self._of_item(f"response.{part}.delta", delta=text, **({"logprobs": []} if part == "output_text" else {}))

    def _opened(self, kind: str, part: str) -> Iterator[dict[str, Any]]:
        if kind == "message":
            self.item = {"id": _new_id("msg"), "type": kind, "role": "assistant", "status": "in_progress"}
            content = {"type": part, "text": "", "annotations": [], "logprobs": []}
        else:
            self.item = {"id": _new_id("rs"), "type": kind, "summary": [], "status": "in_progress"}
            content = {"type": part, "text": ""}
        index = len(self.response["output"])
        yield self._told("response.output_item.added", output_index=index, item={**self.item, "content": []})
        self.item["content"] = [content]
        yield self._of_item("response.content_part.added", part=dict(content))

    def _closed(self) -> Iterator[dict[str, Any]]:
        item = self.item
        if item is None:
            return
        item["status"] = "completed"
        part = item["content"][0]
        more: dict[str, Any] = {"logprobs": []} if part["type"] == "output_text" else {}
        yield self._of_item(f"response.{part['type']}.done", text=part["text"], **more)
        yield self._of_item("response.content_part.done", part=part)
        yield self._told("response.output_item.done", output_index=len(self.response["output"]), item=item)
        self.response["output"].append(item)
        self.item = None

    def _called(self, call: ToolCallPart) -> Iterator[dict[str, Any]]:
        item = {"id": _new_id("fc"), "type": "function_call", "call_id": call.id, "name": call.name}
        index = len(self.response["output"])
        begun = {**item, "arguments": "", "status": "in_progress"}
        whole = {**item, "arguments": call.arguments, "status": "completed"}
        place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        yield self._told("response.output_item.added", output_index=index, item=begun)
        yield self._told("response.function_call_arguments.delta", **place, delta=call.arguments)
        done: dict[str, Any] = {**place, "name": call.name, "arguments": call.arguments}
        yield self._told("response.function_call_arguments.done", **done)
        yield self._told("response.output_item.done", output_index=index, item=whole)
        self.response["output"].append(whole)

    def _ended(self, end: Finished) -> Iterator[dict[str, Any]]:
        cut = end.reason in ("length", "repetition")
        self.response["status"] = "incomplete" if cut else "completed"
        self.response["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        usage = end.usage
        self.response["usage"] = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        self.keep(self.response)
        yield self._told("response.incomplete" if cut else "response.completed", self._now())

    def _failed(self, error: Exception) -> dict[str, Any]:
        told = errors.body_of(error)[1]["error"]
        self.response["status"] = "failed"
        self.response["error"] = {"code": told["code"] or "server_error", "message": told["message"]}
        return self._told("response.failed", self._now())

    def _of_item(self, kind: str, **values: Any) -> dict[str, Any]:
        assert self.item is not None
        place = {"item_id": self.item["id"], "output_index": len(self.response["output"]), "content_index": 0}
        return self._told(kind, **place, **values)

    def _now(self) -> dict[str, Any]:
        return {"response": {**self.response, "output": list(self.response["output"])}}

    def _told(self, kind: str, values: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self.number, **(values or {}), **more}
        self.number += 1
        return event

    def _format(self) -> dict[str, Any]:
        form = self.body.text.format if self.body.text else None
        return form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
