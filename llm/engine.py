"""The engine interface: loaded weights that turn token ids into tokens. Engines know no conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from llm.cancel import Cancel
from llm.errors import AdapterRefused, UnsupportedContent
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
    """An engine's last word: why it ended, and how many prompt tokens came from its cache.

    text: what was held back of a character that the answer ended inside of.
    """

    reason: FinishReason
    cached_tokens: int = 0
    text: str = ""


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
    tool_template: str = ""
    """The template for prompts with tools, where the weights have one of its own."""
    image_tag: str = ""
    """The tag that the template has for a picture; empty for an engine that takes none."""
    pictures_as_words: bool = False
    """Whether a picture is to stand among the words, because the engine puts the tags around it by itself."""
    can_embed: bool = False
    """Whether `embed` gives vectors of texts."""

    def encode(self, spans: Sequence[Span]) -> Prompt:
        """Token ids and pieces of a rendered prompt; control spans to control ids, all else to plain text."""

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        """Tokens until an end; `GenerationEnd` is last. Closing the iterator cancels within one token.

        Stop ids are not yielded as tokens. While queued, `Waiting` is yielded about every 0.2 s.
        """

    def embed(self, inputs: Sequence[str | Sequence[int]], cancel: Cancel) -> tuple[list[list[float]], int]:
        """A vector of length one for each text (or its token ids), and how many tokens were read."""
        raise UnsupportedContent(model=type(self).__name__, content="texts for embedding", accepted="text")

    def adapt(self, folder: Path) -> None:
        """Makes an adapter ready for answers whose settings name its folder; cheap when it is.

        Raises:
            AdapterRefused: it does not fit these weights, or is of a kind that this engine cannot use.
            CorruptModel: its files are damaged.
        """
        raise AdapterRefused(adapter=folder.name, model=type(self).__name__, detail="this engine takes no adapters")

    def memory(self) -> MemoryUse:
        """What is held now, measured."""

    def close(self) -> None:
        """Frees everything. Answers in work end as cancelled."""
