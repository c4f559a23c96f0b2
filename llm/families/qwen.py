"""The first Qwen (Qwen/Qwen-1_8B, -7B, -14B, -72B and their -Chat and -Int4 repositories).

Later Qwens (1.5 on) have this family's name too; they bring a chat template and follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from llm.engine import Engine
from llm.families.base import RenderOptions
from llm.families.qwen_tokenizer import QwenTokenizer
from llm.families.rounds import control, plain, words
from llm.families.template import TemplateFamily
from llm.messages import Message
from llm.prompt import Span

if TYPE_CHECKING:
    pass

DEFAULT_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class QwenFamily(TemplateFamily):
    """ChatML, each role, line end and text tokenised by itself (`make_context` of qwen_generation_utils.py)."""

    name: str = "qwen"

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        tokenizer = getattr(engine, "tokenizer", engine)
        if not isinstance(tokenizer, QwenTokenizer):
            return super().render(messages, engine, options)
        if tokenizer.chat_format == "raw":
            return self.content(messages[-1], tokenizer) if messages else []
        system = [message for message in messages if message.role == "system"]
        spoken = [message for message in messages if message.role != "system"]
        opening = system[0] if system else Message.of({"role": "system", "content": DEFAULT_SYSTEM})
        spans = self._turn(opening, tokenizer)
        for message in _within_window(self, spans, spoken, tokenizer):
            spans += [plain("\n"), *self._turn(message, tokenizer)]
        return [*spans, plain("\n"), control("<|im_start|>"), plain("assistant"), plain("\n")]

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        tokenizer = getattr(engine, "tokenizer", engine)
        return tokenizer.stop_ids if isinstance(tokenizer, QwenTokenizer) else super().stop_ids(engine)

    def content(self, message: Message, tokenizer: QwenTokenizer) -> list[Span]:
        """What a message says, as one stretch of text."""
        return [Span(words(message), message.role)]

    def _turn(self, message: Message, tokenizer: QwenTokenizer) -> list[Span]:
        role = "user" if message.role == "tool" else message.role
        content = self.content(message, tokenizer)
        return [control("<|im_start|>"), plain(role), plain("\n"), *content, control("<|im_end|>")]


def _within_window(
    family: QwenFamily, system: Sequence[Span], spoken: Sequence[Message], tokenizer: QwenTokenizer
) -> list[Message]:
    """The newest turns that fit beside the system text; the last question is always there and not counted."""
    openings = [index for index, message in enumerate(spoken) if message.role == "user"]
    last = openings[-1] if openings else 0
    kept = list(spoken[last:])
    size = len(tokenizer.encode_spans(system))
    bounds = [*openings, last] if openings and openings[0] == 0 else [0, *openings, last]
    for begin, end in reversed(list(pairwise(bounds))):
        turn = spoken[begin:end]
        spans = [span for message in turn for span in (plain("\n"), *family._turn(message, tokenizer))]
        size += len(tokenizer.encode_spans(spans))
        if size >= tokenizer.max_window_tokens:
            break
        kept = [*turn, *kept]
    return kept


family = QwenFamily()
