"""Baichuan and Baichuan2, 7B and 13B (baichuan-inc/Baichuan2-7B-Chat and its relatives)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm.engine import Engine
from llm.families.base import RenderOptions
from llm.families.rounds import control, words
from llm.families.sentencepiece_spans import SentencePieceSpans, cut_tags
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    pass

USER_ID, ASSISTANT_ID, EOS_ID = 195, 196, 2
USER_TAG, ASSISTANT_TAG = "<reserved_106>", "<reserved_107>"


# Pieces of the vocabulary that the network takes as tags, and that sentencepiece would find in words.
_TAGS = re.compile(r"<reserved_\d+>|<SEP>|<CLS>")


class BaichuanTokenizer(SentencePieceSpans):
    """Each text by itself, without a blank before it.

    Args:
        max_input_tokens: longest prompt; a longer one is cut on the left, as `build_chat_input` does.
    """

    eos_text = "</s>"

    def __init__(self, path: Path, user_id: int, assistant_id: int, max_input_tokens: int) -> None:
        super().__init__(path, {"<unk>": 0, "<s>": 1, "</s>": EOS_ID}, frozenset({EOS_ID}))
        self.user_tag, self.assistant_tag = map(self.processor.id_to_piece, (user_id, assistant_id))
        self.special_tokens |= {self.user_tag: user_id, self.assistant_tag: assistant_id}
        self._tag_of |= {user_id: self.user_tag, assistant_id: self.assistant_tag}
        self.max_input_tokens = max_input_tokens

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        return super().encode_spans(spans)[-self.max_input_tokens :]

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        pieces, begin = [], 0
        for stretch in cut_tags(text, _TAGS):
            pieces += [(token_id, begin + place) for token_id, place in super()._pieces(stretch)]
            begin += len(stretch.encode())
        return pieces


class BaichuanFamily:
    """Texts, each after its speaker's id (`build_chat_input` of generation_utils.py)."""

    name = "baichuan"
    thinking_tags: tuple[str, str] | None = None
    takes_tools = False
    answers_begin_with_metadata = False

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        tokenizer = getattr(engine, "tokenizer", engine)
        user, assistant = USER_TAG, ASSISTANT_TAG
        if isinstance(tokenizer, BaichuanTokenizer):
            user, assistant = tokenizer.user_tag, tokenizer.assistant_tag
        system = "".join(words(message) for message in messages if message.role == "system")
        spoken = [message for message in messages if message.role != "system"]
        opening = [Span(system, "system")] if system else []
        rounds = [[span for message in turn for span in _spoken(message, user, assistant)] for turn in _rounds(spoken)]
        if isinstance(tokenizer, BaichuanTokenizer):
            rounds = _within_window(rounds, opening, tokenizer)
        spans = [*opening, *(span for turn in rounds for span in turn)]
        if not spoken or spoken[-1].role != "assistant":
            spans.append(control(assistant))
        return spans

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        return engine.stop_ids | {EOS_ID}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return text, []


def _spoken(message: Message, user: str, assistant: str) -> list[Span]:
    text = words(message)
    tag = assistant if message.role == "assistant" else user
    return [control(tag), Span(text, message.role)] if text else [control(tag)]


def _rounds(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages grouped so that each user message opens a round."""
    rounds: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or not rounds:
            rounds.append([])
        rounds[-1].append(message)
    return rounds


def _within_window(
    rounds: Sequence[list[Span]], opening: Sequence[Span], tokenizer: BaichuanTokenizer
) -> list[list[Span]]:
    """The newest rounds that fit beside the system text; the last one stays even if it is too long."""
    room = tokenizer.max_input_tokens - len(tokenizer.encode_spans(opening))
    kept: list[list[Span]] = []
    used = 0
    for turn in reversed(rounds):
        used += len(tokenizer.encode_spans(turn))
        if kept and used > room:
            break
        kept.insert(0, turn)
        if used >= room:
            break
    return kept


family = BaichuanFamily()
