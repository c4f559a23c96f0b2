"""/v1/messages: Anthropic's protocol (docs.anthropic.com/en/api/messages), for programs that were made for it.

A request becomes a chat request of this API, and its answer's events become Anthropic's.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from llm.api import conversion, errors
from llm.api.answers import Wire, named_line, streamed, whole
from llm.api.bodies import BoundedRoute
from llm.api.chat import answer_events
from llm.api.models import entry_of
from llm.api.schemas import MAX_MESSAGES, Body, ChatRequest, Loose
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.errors import InvalidRequest
from llm.events import Event, Finished, PromptReady, TextDelta, ThinkingDelta, ToolCallReady, Usage
from llm.messages import ToolCallPart
from llm.runtime import handles


class TextBlock(Loose):
    type: Literal["text"]
    text: str


class Source(Loose):
    type: Literal["base64", "url", "text"]
    media_type: str = ""
    data: str = ""
    url: str = ""


class ImageBlock(Loose):
    type: Literal["image"]
    source: Source


class DocumentBlock(Loose):
    type: Literal["document"]
    source: Source
    title: str | None = None


class ThinkingBlock(Loose):
    type: Literal["thinking"]
    thinking: str


class RedactedBlock(Loose):
    """Another server's encrypted thinking, which nobody else can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Loose):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)


ResultBlock = Annotated[TextBlock | ImageBlock | DocumentBlock, Field(discriminator="type")]


class ToolResultBlock(Loose):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[ResultBlock] = ""
    is_error: bool = False


Block = Annotated[
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]


class Turn(Loose):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class Tool(Loose):
    type: Literal["custom"] = "custom"
    name: str
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)


class ToolChoice(Loose):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Thinking(Loose):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class OutputFormat(Loose):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Loose):
    format: OutputFormat | None = None


def _joined(value: Any) -> Any:
    """A system prompt in blocks as one text."""
    if isinstance(value, list):
        return "\n\n".join(TextBlock.model_validate(block).text for block in value)
    return value


class CountRequest(Body):
    """A conversation whose tokens are to be counted."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=1024)
    messages: list[Turn] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: Annotated[str | None, BeforeValidator(_joined)] = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None


class MessagesRequest(CountRequest):
    """A conversation to be answered. What has no bearing on a local answer (metadata, cache_control) is accepted."""

    model_config = ConfigDict(extra="forbid")

    max_tokens: int = Field(ge=1)
    stream: bool = False
    stop_sequences: list[str] | None = Field(None, max_length=16)
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=200)
    output_config: OutputConfig | None = None

    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    cache_control: dict[str, Any] | None = None
    betas: list[str] | None = None
    diagnostics: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    inference_geo: str | None = None
    speed: str | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["anthropic"], route_class=BoundedRoute)

    @group.post("/messages", response_model=None)
    async def messages(body: MessagesRequest, request: Request) -> dict[str, Any] | Response:
        """An answer in Anthropic's shape, whole or as its server-sent events."""
        asked = _chat_request(body)

        def events(cancel: Cancel) -> Iterator[Event]:
            return answer_events(asked, request, cancel)

        writer = _Writer(body.model)
        if body.stream:
            return await streamed(Work(request, body.model, events), [], writer.of, _WIRE)
        answer = await result(request, body.model, lambda cancel: whole(events(cancel)))
        content: list[dict[str, Any]] = []
        if answer.thinking:
            content.append({"type": "thinking", "thinking": answer.thinking, "signature": ""})
        if answer.text or not answer.calls:
            content.append({"type": "text", "text": answer.text})
        content += [{**_called(call), "input": _input(call)} for call in answer.calls]
        end = answer.end
        return {**writer.message(end.usage), "content": content, "stop_reason": _reason(end, bool(answer.calls))}

    @group.post("/messages/count_tokens")
    async def count_tokens(body: CountRequest, request: Request) -> dict[str, int]:
        """How many tokens a conversation takes, tools and template included."""
        asked = _chat_request(MessagesRequest(**body.model_dump(), max_tokens=1))

        def count(cancel: Cancel) -> int:
            model = handles.chat(entry_of(body.model, request))
            return len(
                model.prompt(conversion.messages(asked.messages), conversion.tools(asked) or None, keep_all=True).ids
            )

        return {"input_tokens": await result(request, body.model, count)}

    return group


def _chat_request(body: MessagesRequest) -> ChatRequest:
    """The same as this API's own request.

    Raises:
        InvalidRequest: it says what cannot be said there.
    """
    messages = [{"role": "system", "content": body.system}] if body.system else []
    for turn in body.messages:
        messages += _messages(turn)
    choice: Any = body.tool_choice.type if body.tool_choice else None
    if choice == "tool" and body.tool_choice:
        choice = {"type": "function", "function": {"name": body.tool_choice.name or ""}}
    form = body.output_config.format if body.output_config else None
    values = {
        "model": body.model,
        "messages": messages,
        "response_format": {"type": form.type, "json_schema": {"schema": form.schema_}} if form else None,
        "max_tokens": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences,
        "tools": [_function(tool) for tool in body.tools or ()] or None,
        "tool_choice": choice,
        "thinking": body.thinking.type != "disabled" if body.thinking else None,
        "parallel_tool_calls": False if body.tool_choice and body.tool_choice.disable_parallel_tool_use else None,
    }
    return conversion.chat_request(values)


def _function(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema or None}
    return {"type": "function", "function": described}


def _messages(turn: Turn) -> list[dict[str, Any]]:
    """One turn as messages: results of tools are messages of their own, before what is said with them."""
    blocks = [TextBlock(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content
    results: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thinking = ""
    for block in blocks:
        match block:
            case ToolResultBlock():
                parts = block.content if isinstance(block.content, list) else []
                words = block.content if isinstance(block.content, str) else "\n".join(_words(part) for part in parts)
                said = f"Error: {words}" if block.is_error else words
                results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": said})
                content += [_picture(part) for part in parts if isinstance(part, ImageBlock)]
            case ToolUseBlock():
                arguments = json.dumps(block.input, ensure_ascii=False)
                calls.append({"id": block.id, "function": {"name": block.name, "arguments": arguments}})
            case ThinkingBlock():
                thinking += block.thinking
            case ImageBlock():
                content.append(_picture(block))
            case DocumentBlock() if block.source.type == "base64":
                name = block.title or "document." + block.source.media_type.rpartition("/")[2]
                content.append({"type": "file", "file": {"filename": name, "file_data": block.source.data}})
            case TextBlock() | DocumentBlock():
                content.append({"type": "text", "text": _words(block)})
    if content or calls or not results:
        message = {"role": turn.role, "content": content or None, "tool_calls": calls or None}
        results.append({**message, "reasoning_content": thinking or None})
    return results


def _words(block: TextBlock | ImageBlock | DocumentBlock) -> str:
    match block:
        case TextBlock():
            return block.text
        case DocumentBlock():
            if block.source.type != "text":
                raise InvalidRequest(detail="documents are taken as text or base64", param="messages")
            return f"{block.title}\n{block.source.data}" if block.title else block.source.data
    return ""


def _picture(block: ImageBlock) -> dict[str, Any]:
    source = block.source
    url = source.url if source.type == "url" else f"data:{source.media_type};base64,{source.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _called(call: ToolCallPart) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_" + call.id.removeprefix("call_"), "name": call.name, "input": {}}


def _input(call: ToolCallPart) -> Any:
    try:
        return json.loads(call.arguments)
    except ValueError:  # a small model's slip; the words are worth more than an error
        return {"arguments": call.arguments}


def _reason(end: Finished, called: bool) -> str:
    if called or end.reason == "tool_calls":
        return "tool_use"
    return "max_tokens" if end.reason in ("length", "repetition") else "end_turn"


def _failed(error: Exception) -> dict[str, Any]:
    return errors.anthropic_shape(*errors.body_of(error))


_WIRE = Wire(named_line, b'event: ping\ndata: {"type":"ping"}\n\n', b"", _failed)


@dataclass(slots=True)
class _Writer:
    """Writes an answer's events as Anthropic's: blocks that begin, grow and end."""

    model: str
    id: str = field(default_factory=lambda: f"msg_{uuid.uuid4().hex}")
    blocks: int = 0
    open_kind: str = ""
    called: bool = False

    def message(self, usage: Usage) -> dict[str, Any]:
        """What every message begins with."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.prompt_tokens - usage.cached_tokens,
                "output_tokens": usage.completion_tokens,
                "cache_read_input_tokens": usage.cached_tokens,
                "cache_creation_input_tokens": 0,
            },
        }

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case PromptReady():
                yield {"type": "message_start", "message": self.message(Usage(len(event.prompt.ids), 0))}
            case ThinkingDelta() if event.text:
                yield from self._opened("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": event.text})
            case TextDelta() if event.text:
                yield from self._opened("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": event.text})
            case ToolCallReady():
                yield from self._closed()
                yield from self._opened("tool_use", _called(event.call))
                written = json.dumps(_input(event.call), ensure_ascii=False)
                yield self._delta({"type": "input_json_delta", "partial_json": written})
                self.called = True
            case Finished():
                if not self.blocks and not self.open_kind:
                    yield from self._opened("text", {"type": "text", "text": ""})
                yield from self._closed()
                usage = self.message(event.usage)["usage"]
                reason = _reason(event, self.called)
                yield {
                    "type": "message_delta",
                    "delta": {"stop_reason": reason, "stop_sequence": None},
                    "usage": usage,
                }
                yield {"type": "message_stop"}

    def _opened(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self.open_kind != kind:
            yield from self._closed()
            self.open_kind = kind
            yield {"type": "content_block_start", "index": self.blocks, "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self.blocks, "delta": delta}

    def _closed(self) -> Iterator[dict[str, Any]]:
        if self.open_kind:
            yield {"type": "content_block_stop", "index": self.blocks}
            self.blocks, self.open_kind = self.blocks + 1, ""
