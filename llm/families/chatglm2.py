"""ChatGLM2 (THUDM/chatglm2-6b): its prompt, its vocabulary, and its network as transformers' GLM.

Also loads ChatGLM3's weights, which differ only in the prompt and the tags. The network is
`modeling_chatglm.py` of either repository: RMSNorm, SwiGLU, grouped keys and values, and rotary positions
over the first half of each head in adjacent pairs, which is GLM's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm.engine import Engine
from llm.families.base import RenderOptions
from llm.families.chatglm_reply import glm_tool_call
from llm.families.rounds import control, plain, rounds_of
from llm.families.sentencepiece_spans import SentencePieceSpans
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    pass

# Tags take the ids after the sentencepiece vocabulary, in this order (tokenization_chatglm.py).
PREFIX_TAGS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
EOS_ID = 2


class ChatGLM2Tokenizer(SentencePieceSpans):
    """The whole prompt is one text, with one blank before it; tags decode to nothing."""

    joins_spans = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "tokenizer.model", {}, frozenset({EOS_ID}))
        self.special_tokens = {tag: self._size + place for place, tag in enumerate(PREFIX_TAGS)}

    def token_text(self, token_id: int) -> str:
        place = token_id - self._size
        return PREFIX_TAGS[place] if 0 <= place < len(PREFIX_TAGS) else super().token_text(token_id)


class ChatGLM2Family:
    """Rounds counted from 1. There is no system role: such a text stands before the first question."""

    name = "chatglm2"
    thinking_tags: tuple[str, str] | None = None
    takes_tools = False
    answers_begin_with_metadata = False

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        talk = rounds_of(messages)
        spans = [control("[gMASK]"), control("sop")]
        for number, turn in enumerate(talk.rounds, start=1):
            spans.append(plain(f"[Round {number}]\n\n问："))
            if number == 1 and talk.system:
                spans += [Span(talk.system, "system"), plain("\n\n")]
            spans += [Span(turn.question, "user"), plain("\n\n答：")]
            if turn.answer is not None:
                spans += [Span(turn.answer, "assistant"), plain("\n\n")]
        return spans

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        return engine.stop_ids | {EOS_ID}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return glm_tool_call(text)


family = ChatGLM2Family()
