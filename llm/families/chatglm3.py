"""ChatGLM3 (THUDM/chatglm3-6b): role tags, tools and observations. Its network is ChatGLM2's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.engine import Engine
from llm.families.base import RenderOptions
from llm.families.chatglm2 import EOS_ID, PREFIX_TAGS
from llm.families.chatglm_reply import glm_tool_call, tool_call_code
from llm.families.rounds import control, plain, words
from llm.families.sentencepiece_spans import SentencePieceSpans
from llm.messages import Message, ToolCallPart
from llm.prompt import PieceKind, Span

ROLE_TAGS = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")

# The system text of the published tool example (THUDM/ChatGLM3, tools_using_demo), for tools without one.
TOOLS_SYSTEM = "Answer the following questions as best as you can. You have access to the following tools:"


class ChatGLM3Tokenizer(SentencePieceSpans):
    """Each stretch of text is tokenised by itself, with a blank of its own before it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "tokenizer.model", {}, frozenset())
        tags = {tag: self._size + place for place, tag in enumerate(PREFIX_TAGS + ROLE_TAGS)}
        self.special_tokens = tags
        self._tag_of = {token_id: tag for tag, token_id in tags.items()}
        self.stop_ids = frozenset({EOS_ID, tags["<|user|>"], tags["<|observation|>"]})


class ChatGLM3Family:
    """Role tag, a line of metadata (the name of a called function, else nothing), then the words."""

    name = "chatglm3"
    thinking_tags: tuple[str, str] | None = None
    takes_tools = True
    answers_begin_with_metadata = True

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        spans = [control("[gMASK]"), control("sop")]
        tools = _tools_text(options.tools)
        if tools and not any(message.role == "system" for message in messages):
            spans += _turn("system", "", f"{TOOLS_SYSTEM}{tools}")
            tools = ""
        for message in messages:
            text = words(message)
            if message.role == "system":
                text, tools = text + tools, ""
            spans += _message_spans(message, text)
        return [*spans, control("<|assistant|>")]

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        tags = ("<|user|>", "<|observation|>")
        return engine.stop_ids | {EOS_ID} | {engine.special_tokens[tag] for tag in tags if tag in engine.special_tokens}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return glm_tool_call(text)


def _message_spans(message: Message, text: str) -> Iterator[Span]:
    if message.role == "tool":
        yield from _turn("observation", "", text, "tool")
        return
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if text or not calls:
        yield from _turn(message.role, "", text, message.role)
    for call in calls:
        yield from _turn("assistant", call.name, tool_call_code(call), "assistant")


def _turn(role: str, metadata: str, text: str, kind: PieceKind = "system") -> Iterator[Span]:
    yield control(f"<|{role}|>")
    yield plain(f"{metadata}\n")
    if text:
        yield Span(text, kind)


def _tools_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools as ChatGLM3 reads them: bare functions, dumped as JSON after the system text."""
    functions = [tool.get("function", tool) for tool in tools]
    return "\n" + json.dumps(functions, indent=4, ensure_ascii=False) if functions else ""


family = ChatGLM3Family()
