"""The openai engine: models that another server runs, by OpenAI's protocol.

vLLM, SGLang, Ollama, LM Studio, llama-server and other Hearths all speak it. Tokens and prompts are the
server's affair, so a handle of this engine takes messages and has no token ids.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.errors import EmptyMessage, RemoteFailed, UnsupportedContent
from llm.events import (
    Alternative,
    Event,
    Finished,
    FinishReason,
    Progress,
    PromptReady,
    TextDelta,
    ThinkingDelta,
    Timings,
    Token,
    ToolCallReady,
    Usage,
)
from llm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    MessageLike,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    messages_of,
    says_something,
)
from llm.plan import LoadPlan, LoadProgress
from llm.prompt import Prompt
from llm.remote.client import Call, Server, events, fetched, refusal
from llm.repetition import RepetitionWatch
from llm.settings import GenerationSettings

_KNOWN: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "repetition")
_REASONS: dict[str, FinishReason] = {reason: reason for reason in _KNOWN}
_PLAIN = GenerationSettings()


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> RemoteModel:
    """A handle; nothing is asked of the server yet."""
    from llm.remote.servers import key_of

    return RemoteModel(entry, plan, Server(entry.base_url, key_of(entry.base_url)))


class RemoteModel:
    """See `llm.runtime.protocols.ChatModel`, `Embedder` and `Transcriber`. Safe to use from many threads at once."""

    takes_tools = True
    can_embed = True
    can_complete = False
    closed = False
    runtime = "openai"
    """Of speech: what runs it there only the server knows."""
    languages: tuple[str, ...] = ()
    """Of speech; the server knows."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, server: Server) -> None:
        self.entry = entry
        self.plan = plan
        self.use = UseCount(limit=config().parallel + config().queue_limit)
        self._server = server
        self._model = entry.remote_id or entry.id

    @property
    def context_tokens(self) -> int:
        return self.entry.context_tokens

    def prompt(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[Mapping[str, Any]] | None = None,
        settings: GenerationSettings | None = None,
        keep_all: bool = False,
    ) -> Prompt:
        """The conversation as text; which tokens that becomes only the server knows.

        Raises:
            EmptyMessage: the last message says nothing.
        """
        conversation = messages_of(messages)
        if not says_something(conversation):
            raise EmptyMessage()
        text = "\n\n".join(f"{message.role}: {message.text}" for message in conversation)
        return Prompt(text, (), (), self.entry.context_tokens)

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_all: bool = False,
    ) -> Generator[Event, None, None]:
        """Events of one answer; `PromptReady` is first, `Finished` last. Closing it ends the request.

        Raises:
            NoNetwork, RemoteFailed, InvalidRequest, Busy: see `openai_http.events`.
        """
        stop = cancel or Cancel()
        with self.use:
            begin = time.perf_counter()
            yield PromptReady(self.prompt(messages))
            answer = _Answer(begin)
            watch = RepetitionWatch()
            body = _request(self._model, messages_of(messages), settings, tools)
            with closing(events(self._server, Call("/chat/completions", body, stream=True), stop)) as chunks:
                for chunk in chunks:
                    if chunk is None:
                        yield Progress("answer" if answer.pieces else "prompt", answer.pieces)
                        continue
                    if "error" in chunk:
                        raise self._broken(chunk["error"])
                    for event in answer.take(chunk):
                        yield event
                        words = event.text if isinstance(event, (TextDelta, ThinkingDelta)) else ""
                        if settings.json_schema is None and watch.feed(words):
                            answer.reason = "repetition"
                    if answer.reason == "repetition":
                        break
            if not answer.reason and not stop.is_set():
                raise RemoteFailed(server=self._server.name, detail="the answer broke off")
            yield from answer.end()

    def _broken(self, error: Any) -> Exception:
        message = error.get("message", error) if isinstance(error, dict) else error
        status = error.get("code") if isinstance(error, dict) else None
        return refusal(status if isinstance(status, int) else 500, str(message), self._server)

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """A vector for each text, and how many tokens were read. Raises as `stream`."""
        body = {"model": self._model, "input": list(inputs), "encoding_format": "float"}
        with self.use:
            answer = fetched(self._server, Call("/embeddings", body), cancel)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return [row["embedding"] for row in rows], answer.get("usage", {}).get("prompt_tokens", 0)

    def transcribe(self, audio: Any, options: Any, cancel: Cancel | None = None) -> Generator[Any, None, None]:
        """Speech events, as `llm.runtime.speech_model.SpeechModel.transcribe` has them. Raises as `stream`."""
        from llm.remote.speech import transcribed

        with self.use:
            yield from transcribed(self._server, self._model, audio, options, cancel or Cancel())

    def complete(
        self, prompt: str | Sequence[int], settings: GenerationSettings, cancel: Cancel | None = None
    ) -> Generator[Event, None, None]:
        """
        Raises:
            UnsupportedContent: always; other servers' raw completions differ too much to be one thing.
        """
        raise UnsupportedContent(model=self.entry.id, content="a raw prompt", accepted="conversations")

    def memory(self) -> MemoryUse:
        """Nothing: the memory is the server's."""
        return MemoryUse()

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class _Answer:
    """An answer as it comes in."""

    begin: float
    pieces: int = 0
    first_s: float = 0.0
    reason: str = ""
    usage: Usage = field(default_factory=Usage)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)

    def take(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        used = chunk.get("usage")
        if used:
            cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self.usage = Usage(used.get("prompt_tokens", 0), used.get("completion_tokens", 0), cached)
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            tokens = _tokens(choice.get("logprobs"))
            thinking = delta.get("reasoning_content") or delta.get("reasoning")
            if thinking or delta.get("content"):
                self.pieces += 1
                self.first_s = self.first_s or time.perf_counter() - self.begin
            if thinking:
                yield ThinkingDelta(thinking)
            if delta.get("content") or tokens:
                yield TextDelta(delta.get("content") or "", tokens)
            for part in delta.get("tool_calls") or ():
                self._add_call(part)
            self.reason = choice.get("finish_reason") or self.reason

    def _add_call(self, part: Mapping[str, Any]) -> None:
        """Calls come in pieces: the name with the first, the arguments bit by bit."""
        call = self.calls.setdefault(part.get("index", len(self.calls)), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def end(self) -> Iterator[Event]:
        for index, call in sorted(self.calls.items()):
            yield ToolCallReady(ToolCallPart(call["id"] or f"call_{index}", call["name"], call["arguments"]))
        total_s = time.perf_counter() - self.begin
        # Servers that don't count still send about a token a piece.
        usage = self.usage if self.usage.completion_tokens else Usage(self.usage.prompt_tokens, self.pieces)
        reason = _REASONS.get(self.reason, "stop") if self.reason else "cancelled"
        yield Finished(reason, usage, Timings(0.0, self.first_s or total_s, total_s))


def _tokens(logprobs: Mapping[str, Any] | None) -> tuple[Token, ...]:
    return tuple(
        Token(
            -1,
            token["token"],
            token["logprob"],
            tuple(Alternative(-1, top["token"], top["logprob"]) for top in token.get("top_logprobs") or ()),
        )
        for token in (logprobs or {}).get("content") or ()
    )


def _request(
    model: str,
    messages: Sequence[Message],
    settings: GenerationSettings,
    tools: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """The body. Settings that OpenAI's protocol doesn't have go along only where somebody changed them."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [value for message in messages for value in _message(message)],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": settings.max_length,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
    }
    if settings.seed is not None:
        body["seed"] = settings.seed
    if settings.stop:
        body["stop"] = list(settings.stop)
    if settings.top_k != _PLAIN.top_k:
        body["top_k"] = settings.top_k
    if settings.repetition_penalty != _PLAIN.repetition_penalty:
        body["repetition_penalty"] = settings.repetition_penalty
    if settings.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": settings.thinking}
    if settings.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": settings.logprobs}
    body |= settings.finer
    if settings.json_schema is not None:
        schema = {"name": "answer", "schema": dict(settings.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if tools:
        body["tools"] = [dict(tool) for tool in tools]
    return body


def _message(message: Message) -> Iterator[dict[str, Any]]:
    """A message in OpenAI's shape. Each tool's answer is a message of its own."""
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    for result in results:
        yield {"role": "tool", "tool_call_id": result.id, "content": result.content}
    if results:
        return
    contents = [content for part in message.parts if (content := _content(part))]
    if all(content["type"] == "text" for content in contents):
        value: dict[str, Any] = {"role": message.role, "content": "".join(content["text"] for content in contents)}
    else:
        value = {"role": message.role, "content": contents}
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if calls:
        value["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    yield value


def _content(part: Any) -> dict[str, Any] | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case DocumentPart():
            return {"type": "text", "text": f"[{part.name}]\n{part.text}\n\n"}
        case ImagePart():
            data = base64.b64encode(part.data).decode("ascii")
            return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}
        case AudioPart():
            data = base64.b64encode(part.data).decode("ascii")
            kind = part.media_type.rsplit("/", 1)[-1].removeprefix("x-")
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind.replace("mpeg", "mp3")}}
        case ThinkingPart() | ToolCallPart():
            return None
    return None
