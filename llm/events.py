"""What a model sends while it answers: a stream of small events, never the text so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llm.messages import ToolCallPart
from llm.prompt import Prompt

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "tool_calls", "repetition"]
"""`repetition`: the answer was ended because it wrote the same again and again."""


@dataclass(frozen=True, slots=True)
class Alternative:
    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One answer token. `logprob` is natural-log probability before sampling settings; None: not asked for."""

    id: int
    text: str
    logprob: float | None = None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens. `cached_tokens` of the prompt were found in the prompt cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds as the caller lived them: `first_token_s` counts from the call, waiting included."""

    queued_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0

    def tokens_per_s(self, completion_tokens: int) -> float:
        """Decode speed: tokens after the first over the time after the first; 0 when unknown."""
        decode_s = self.total_s - self.first_token_s
        return (completion_tokens - 1) / decode_s if completion_tokens > 1 and decode_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class PromptReady:
    """Always first: the prompt that goes to the model."""

    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life while there is nothing to read yet; also sent as a heartbeat.

    `stage` is waiting (others are answered first; `done` is how many), prompt (being read) or answer.
    """

    stage: str
    done: float = 0
    total: float = 0


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class Noted:
    """Beside the words: what an answer rests on, as JSON values by name. A later one of a name replaces it."""

    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """Always last, once."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()


Event: TypeAlias = PromptReady | Progress | TextDelta | ThinkingDelta | ToolCallReady | Noted | Finished
