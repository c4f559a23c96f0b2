"""ChatGLM-6B (THUDM/chatglm-6b, -int4 and -int8), the first generation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm.engine import Engine
from llm.families.base import RenderOptions
from llm.families.rounds import control, plain, rounds_of
from llm.families.sentencepiece_spans import SentencePieceSpans
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    pass

PAD_ID = 3
LONGEST_BLANK = 80

# Pieces of the published vocabulary that stand for white space, whoever writes them.
_MARKERS = re.compile(r"<n>|<\|tab\|>|<\|blank_(\d+)\|>")
# transformers' `clean_up_tokenization`, which the original's decoding ends with.
_CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class ChatGLMTokenizer(SentencePieceSpans):
    """The whole prompt is one text; its tags are control pieces of the vocabulary itself."""

    joins_spans = True
    bos_text, eos_text = "<sop>", "<eop>"

    def __init__(self, path: Path) -> None:
        super().__init__(path, {}, frozenset())
        tags = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
        self.special_tokens = {tag: self.processor.piece_to_id(tag) for tag in tags}
        self.stop_ids = frozenset({self.special_tokens["<eop>"]})

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids. Tags give nothing; blanks before punctuation go, as in the original."""
        text = self.decode_growing(ids)
        for blank, without in _CLEAN_UP:
            text = text.replace(blank, without)
        return text

    def decode_growing(self, ids: Sequence[int]) -> str:
        """`decode` of an answer that still grows: what is there stays as it is."""
        return self._decode_plain([token_id for token_id in ids if token_id != PAD_ID and token_id < self._size])

    def _prepare(self, text: str) -> str:
        text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
        for length in range(LONGEST_BLANK, 1, -1):
            text = text.replace(" " * length, f"<|blank_{length}|>")
        return text

    def _restore(self, text: str) -> str:
        return _MARKERS.sub(_white_space, text)


class ChatGLMFamily:
    """A bare question, or rounds counted from 0 (`chat()` of modeling_chatglm.py)."""

    name = "chatglm"
    thinking_tags: tuple[str, str] | None = None
    takes_tools = False
    answers_begin_with_metadata = False

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        talk = rounds_of(messages)
        spans: list[Span] = [Span(talk.system, "system"), plain("\n")] if talk.system else []
        if len(talk.rounds) == 1 and talk.rounds[0].answer is None:
            spans.append(Span(talk.rounds[0].question, "user"))
            return [*spans, control("[gMASK]"), control("<sop>")]
        for number, turn in enumerate(talk.rounds):
            spans += [plain(f"[Round {number}]\n问："), Span(turn.question, "user"), plain("\n答：")]
            if turn.answer is not None:
                spans += [Span(turn.answer, "assistant"), plain("\n")]
        return [*spans, control("[gMASK]"), control("<sop>")]

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        end = engine.special_tokens.get("<eop>")
        return engine.stop_ids if end is None else engine.stop_ids | {end}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return text, []


def _white_space(match: re.Match[str]) -> str:
    if match.group(1):
        return " " * int(match.group(1))
    return "\n" if match.group() == "<n>" else "\t"


family = ChatGLMFamily()
