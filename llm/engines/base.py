"""The engine interface: loaded weights that turn token ids into tokens. Engines know no conversations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from llm.catalogue.entry import ModelEntry
from llm.events import Event, FinishReason, PieceKind, Prompt, Token
from llm.messages import ImagePart, MessageLike
from llm.settings import GenerationSettings

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4", "file"]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a model is to be loaded. `reason` says why, for people to read.

    context_tokens: 0 is the engine's choice. precision `file`: as stored (GGUF, GPTQ).
    """

    device: Device = "auto"
    precision: Precision = "auto"
    context_tokens: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes that a loaded model takes, by device name ("cpu", "cuda:0")."""

    by_device: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return sum(self.by_device.values())


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a rendered prompt and whose it is.

    kind `control`: a special tag, to be encoded as the one token that it names. Every other kind is plain
    text, encoded with special tags off. kind `image`: `image` is set and `text` is the tag that the template
    has for it.
    """

    text: str
    kind: PieceKind
    image: ImagePart | None = None


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


class Cancel(threading.Event):
    """Set it to end the work within one token. It also counts as set when its parent is."""

    def __init__(self, parent: Cancel | None = None) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        return super().is_set() or (self._parent is not None and self._parent.is_set())


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


class LoadedModel(Protocol):
    """What `llm.load` returns, shared by everybody."""

    entry: ModelEntry
    plan: LoadPlan

    def prompt(self, messages: Sequence[MessageLike], tools: Sequence[Mapping] | None = None) -> Prompt: ...

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping] | None = None,
    ) -> Iterator[Event]: ...

    def memory(self) -> MemoryUse: ...

    def close(self) -> None: ...


LoadProgress: TypeAlias = Callable[[str, float, float], None]
"""Called with stage, done and total while a model loads."""
