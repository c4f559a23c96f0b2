"""/api/...: Ollama's protocol (docs.ollama.com/api), for the many programs that only know Ollama.

A request becomes a request of this API, and its answer's events become lines of JSON.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from llm.api import errors
from llm.api.answers import Wire, json_line, streamed, watched, whole
from llm.api.bodies import BoundedRoute
from llm.api.chat import answer_events
from llm.api.models import entry_of
from llm.api.ollama_schemas import Asked, ChatAsked, EmbedAsked, GenerateAsked, Named, Turn
from llm.api.schemas import ChatRequest
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import installed, where
from llm.errors import InvalidRequest, ModelNotThere
from llm.events import Event, Finished, TextDelta, ThinkingDelta, ToolCallReady
from llm.messages import ToolCallPart
from llm.runtime import handles
from llm.settings import GenerationSettings

PROTOCOL = "0.12.6"
"""The version of Ollama whose protocol is spoken here; programs ask for it before they use what is newer."""


def router() -> APIRouter:
    group = APIRouter(prefix="/api", tags=["ollama"], route_class=BoundedRoute)

    @group.post("/chat", response_model=None)
    async def chat(body: ChatAsked, request: Request) -> dict[str, Any] | Response:
        """An answer to a conversation, line by line or whole."""
        if not body.messages:
            return await _loaded(body, request, {"message": {"role": "assistant", "content": ""}})
        asked = body.chat(_messages(body.messages), tools=body.tools)
        return await _answered(body, request, asked, _chat_part)

    @group.post("/generate", response_model=None)
    async def generate(body: GenerateAsked, request: Request) -> dict[str, Any] | Response:
        """An answer to one question; with `raw` the text that follows a prompt."""
        if not body.prompt and not body.images:
            return await _loaded(body, request, {"response": ""})
        if body.suffix:
            raise InvalidRequest(detail="a suffix cannot be written up to here", param="suffix")
        if body.raw:
            return await _answered(body, request, None, _generate_part)
        system = [{"role": "system", "content": body.system}] if body.system else []
        turn = Turn(role="user", content=body.prompt, images=body.images)
        return await _answered(body, request, body.chat([*system, *_messages([turn])]), _generate_part)

    @group.post("/embed")
    async def embed(body: EmbedAsked, request: Request) -> dict[str, Any]:
        """Vectors of length one."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        begun = time.perf_counter_ns()
        vectors, tokens = await _vectors(body, texts, request)
        took = {"total_duration": time.perf_counter_ns() - begun, "load_duration": 0}
        return {"model": body.model, "embeddings": vectors, **took, "prompt_eval_count": tokens}

    @group.post("/embeddings")
    async def embedding(body: EmbedAsked, request: Request) -> dict[str, Any]:
        """One vector, as older clients ask for it."""
        vectors, _ = await _vectors(body, [body.prompt or str(body.input)], request)
        return {"embedding": vectors[0]}

    @group.get("/tags")
    async def tags() -> dict[str, Any]:
        """The models on this machine."""
        return {"models": [_listed(entry) for entry in await run_in_threadpool(installed) if _shown(entry)]}

    @group.get("/ps")
    async def running() -> dict[str, Any]:
        """The models that are loaded."""
        loaded = [handle for handle in handles.loaded() if _shown(handle.entry)]
        far = datetime.now(UTC).replace(year=9999).isoformat()
        return {"models": [{**_listed(h.entry), "expires_at": far, "size_vram": 0} for h in loaded]}

    @group.post("/show")
    async def show(body: Named, request: Request) -> dict[str, Any]:
        """What is known of a model."""
        entry = await run_in_threadpool(entry_of, body.id, request)
        listed = _listed(entry)
        info = {
            "general.architecture": entry.family,
            "general.parameter_count": entry.parameters,
            f"{entry.family}.context_length": entry.context_tokens,
        }
        return {
            "license": entry.licence,
            "modelfile": "",
            "parameters": "\n".join(f"{name} {value}" for name, value in entry.sampling.items()),
            "template": "",
            "details": listed["details"],
            "model_info": info,
            "capabilities": _capabilities(entry),
            "modified_at": listed["modified_at"],
        }

    @group.post("/pull", response_model=None)
    async def pull(body: Named, request: Request) -> dict[str, Any]:
        """Says that a model is there. Downloads are begun on the Models page, where their size and source are seen."""
        entry = await run_in_threadpool(entry_of, body.id, request)
        if where(entry) is None and not entry.is_remote:
            raise ModelNotThere(model=entry.id)
        return {"status": "success"}

    @group.get("/version")
    async def version() -> dict[str, str]:
        """The version of Ollama whose protocol this is."""
        return {"version": PROTOCOL}

    return group


async def _answered(body: Asked, request: Request, asked: ChatRequest | None, part: Any) -> dict[str, Any] | Response:
    def events(cancel: Cancel) -> Iterator[Event]:
        if asked is not None:
            return answer_events(asked, request, cancel)
        return _continued(body, request, cancel)  # type: ignore[arg-type] # raw prompts are GenerateAsked's

    writer = _Lines(body.model, part)
    if body.stream:
        return await streamed(Work(request, body.id, events), [], writer.of, _WIRE)
    answer = await result(request, body.id, lambda cancel: whole(events(cancel)))
    return {**writer.line(**part(answer.text, answer.thinking, answer.calls)), **writer.end(answer.end)}


def _continued(body: GenerateAsked, request: Request, cancel: Cancel) -> Iterator[Event]:
    """The text that follows a raw prompt, in which special tags are tags."""
    entry = entry_of(body.id, request)
    model = handles.chat(entry)
    named = body.options.named()
    named.pop("repetition_penalty", None)
    longest = min(named.pop("max_tokens", model.context_tokens or 1024), 32768)
    stop = named.pop("stop", ())
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    try:
        settings = GenerationSettings().with_values({**entry.sampling, **named, "max_length": longest, "stop": stops})
    except ValueError as error:
        raise InvalidRequest(detail=str(error)) from error
    yield from watched(model.complete(body.prompt, settings, cancel), entry, request, cancel)


async def _loaded(body: Asked, request: Request, said: dict[str, Any]) -> dict[str, Any]:
    """A question without words loads the model."""
    await result(request, body.id, lambda cancel: handles.chat(entry_of(body.id, request)))
    return {"model": body.model, "created_at": _now(), **said, "done": True, "done_reason": "load"}


async def _vectors(body: EmbedAsked, texts: list[str], request: Request) -> tuple[list[list[float]], int]:
    if not all(texts):
        raise InvalidRequest(detail="an input is empty", param="input")

    def vectors(cancel: Cancel) -> tuple[list[list[float]], int]:
        return handles.embedder(entry_of(body.id, request)).embed(texts, cancel)

    return await result(request, body.id, vectors) if texts else ([], 0)


def _messages(turns: list[Turn]) -> list[dict[str, Any]]:
    """Turns as this API's messages. Calls have no ids here: a result belongs to the last call of its name."""
    messages: list[dict[str, Any]] = []
    calls: dict[str, str] = {}
    for turn in turns:
        content: Any = turn.content
        if turn.images:
            pictures = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in turn.images]
            content = [*pictures, {"type": "text", "text": turn.content}]
        message: dict[str, Any] = {"role": turn.role, "content": content}
        if turn.thinking:
            message["reasoning_content"] = turn.thinking
        if turn.tool_calls:
            message["tool_calls"] = []
            for call in turn.tool_calls:
                calls[call.function.name] = f"call_{uuid.uuid4().hex[:24]}"
                called = {"name": call.function.name, "arguments": call.function.arguments}
                message["tool_calls"].append({"id": calls[call.function.name], "function": called})
        if turn.role == "tool":
            name = turn.tool_name or next(reversed(calls), "")
            message["tool_call_id"] = calls.get(name, name)
        messages.append(message)
    return messages


def _data_url(image: str) -> str:
    return image if image[:5].lower() == "data:" else f"data:image/png;base64,{image}"


def _chat_part(text: str, thinking: str, calls: list[ToolCallPart]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [{"function": {"name": c.name, "arguments": _arguments(c)}} for c in calls]
    return {"message": message}


def _generate_part(text: str, thinking: str, calls: list[ToolCallPart]) -> dict[str, Any]:
    return {"response": text, **({"thinking": thinking} if thinking else {})}


def _arguments(call: ToolCallPart) -> dict[str, Any]:
    try:
        found = json.loads(call.arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": call.arguments}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _failed(error: Exception) -> dict[str, Any]:
    return {"error": errors.body_of(error)[1]["error"]["message"]}


# A blank line is no value to a reader of lines, and shows proxies that somebody is there.
_WIRE = Wire(json_line, b"\n", b"", _failed, "application/x-ndjson")


@dataclass(slots=True)
class _Lines:
    """Writes an answer's events as lines."""

    model: str
    part: Any

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case TextDelta() if event.text:
                yield self.line(**self.part(event.text, "", []))
            case ThinkingDelta() if event.text:
                yield self.line(**self.part("", event.text, []))
            case ToolCallReady():
                yield self.line(**self.part("", "", [event.call]))
            case Finished():
                yield {**self.line(**self.part("", "", [])), **self.end(event)}

    def line(self, **values: Any) -> dict[str, Any]:
        return {"model": self.model, "created_at": _now(), **values, "done": False}

    def end(self, event: Finished) -> dict[str, Any]:
        """The last line's figures; durations in nanoseconds."""
        times, usage = event.timings, event.usage
        return {
            "done": True,
            "done_reason": "length" if event.reason in ("length", "repetition") else "stop",
            "total_duration": round(times.total_s * 1e9),
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": round((times.first_token_s - times.queued_s) * 1e9),
            "eval_count": usage.completion_tokens,
            "eval_duration": round((times.total_s - times.first_token_s) * 1e9),
        }


def _shown(entry: ModelEntry) -> bool:
    """Whether it is of the kinds that Ollama's programs know: models that converse or embed."""
    return entry.converses or entry.embeds_only


def _listed(entry: ModelEntry) -> dict[str, Any]:
    place = where(entry)
    seconds = place.stat().st_mtime if place is not None and place.exists() else 0.0
    parameters = f"{entry.parameters / 1e9:.1f}B" if entry.parameters >= 1e9 else f"{entry.parameters / 1e6:.0f}M"
    return {
        "name": entry.id,
        "model": entry.id,
        "modified_at": datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z"),
        "size": entry.size_bytes,
        "digest": next((hash for source in entry.sources for hash in source.sha256.values()), ""),
        "details": {
            "parent_model": "",
            "format": "gguf" if entry.is_gguf else "safetensors",
            "family": entry.family,
            "families": [entry.family],
            "parameter_size": parameters if entry.parameters else "",
            "quantization_level": entry.quantisation,
        },
    }


def _capabilities(entry: ModelEntry) -> list[str]:
    """By Ollama's words."""
    if entry.embeds_only:
        return ["embedding"]
    words = {"image": "vision", "tools": "tools", "thinking": "thinking"}
    return ["completion", *(word for ability, word in words.items() if ability in entry.abilities)]
