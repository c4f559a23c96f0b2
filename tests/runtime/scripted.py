"""An engine without weights that says what it is told, for tests of what stands on engines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import Engine, GeneratedToken, GenerationEnd, GenerationStep, MemoryUse, Waiting
from llm.events import Token
from llm.plan import LoadPlan
from llm.prompt import Piece, Prompt, Span
from llm.runtime.chat_model import EngineChatModel
from llm.settings import GenerationSettings

SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2, "<tool_call>": 3}


@dataclass
class ScriptedEngine(Engine):
    """Each character is a token; `script` is what it answers, `received` what it was asked."""

    script: Sequence[str] = ("Hello", " there")
    context_tokens: int = 1000
    chat_template: str = ""
    special_tokens: dict[str, int] = field(default_factory=lambda: dict(SPECIAL))
    stop_ids: frozenset[int] = frozenset({2})
    bos_text: str = ""
    eos_text: str = "<|im_end|>"
    pause_s: float = 0.0
    error: Exception | None = None
    received: list[tuple[Prompt, GenerationSettings]] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    def encode(self, spans: Sequence[Span]) -> Prompt:
        pieces: list[Piece] = []
        for span in spans:
            if span.kind == "control":
                pieces.append(Piece(self.special_tokens[span.text], span.text, "control"))
            else:
                pieces.extend(Piece(100 + ord(char), char, span.kind) for char in span.text)
        text = "".join(span.text for span in spans)
        return Prompt(text, tuple(piece.id for piece in pieces), tuple(pieces), self.context_tokens)

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        self.received.append((prompt, settings))
        try:
            yield Waiting(1)
            for index, text in enumerate(self.script):
                if cancel.is_set():
                    yield GenerationEnd("cancelled")
                    return
                time.sleep(self.pause_s)
                yield GeneratedToken(Token(index, text), text)
            if self.error is not None:
                raise self.error
            yield GenerationEnd("stop")
        finally:
            self.cancelled += cancel.is_set()

    def memory(self) -> MemoryUse:
        return MemoryUse({"cpu": 1})

    def close(self) -> None:
        self.closed = True


def scripted_model(**values: object) -> tuple[EngineChatModel, ScriptedEngine]:
    engine = ScriptedEngine(**values)  # type: ignore[arg-type]
    entry = ModelEntry("scripted", "Scripted", "text-generation", "template", "llamacpp")
    return EngineChatModel(entry, LoadPlan(), engine), engine
