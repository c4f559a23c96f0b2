"""The engine interface: loaded weights that turn token ids into tokens. Engines know no conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from llm.cancel import Cancel
from llm.events import FinishReason, Token
from llm.prompt import Prompt, Span
from llm.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes that a loaded model takes, by device name ("cpu", "cuda:0")."""

    by_device: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return sum(self.by_device.values())


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One step of an engine. `text` may be empty while a character is incomplete."""

    token: Token
    text: str


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """An engine's last word: why it ended, and how many prompt tokens came from its cache."""

    reason: FinishReason
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Others are answered first."""

    ahead: int


GenerationStep: TypeAlias = GeneratedToken | GenerationEnd | Waiting


@runtime_checkable
class Engine(Protocol):
    """Loaded weights. Made by `engines.<name>.load(entry, path, plan, progress)`; shared by many threads."""

    context_tokens: int
    chat_template: str
    """The Jinja chat template stored with the weights; empty when there is none."""
    special_tokens: Mapping[str, int]
    """Text of each control token -> id."""
    stop_ids: frozenset[int]
    """End-of-sequence ids that the weights' own files name."""
    bos_text: str
    eos_text: str

    def encode(self, spans: Sequence[Span]) -> Prompt:
        """Token ids and pieces of a rendered prompt; control spans to control ids, all else to plain text."""

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        """Tokens until an end; `GenerationEnd` is last. Closing the iterator cancels within one token.

        Stop ids are not yielded as tokens. While queued, `Waiting` is yielded about every 0.2 s.
        """

    def memory(self) -> MemoryUse:
        """What is held now, measured."""

    def close(self) -> None:
        """Frees everything. Answers in work end as cancelled."""
