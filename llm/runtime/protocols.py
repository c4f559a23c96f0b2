"""What loaded models offer to whoever uses them. Abilities are fields: nobody has to look for methods."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.events import Event
from llm.messages import ImagePart, MessageLike
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.settings import GenerationSettings
from llm.speech.options import SpeechOptions
from llm.speech.segments import SpeechEvent
from llm.speech.transcriber import Recording


class LoadedModel(Protocol):
    """A handle, shared by everybody in the process."""

    @property
    def entry(self) -> ModelEntry: ...

    @property
    def plan(self) -> LoadPlan:
        """How it was loaded; `reason` says why."""

    @property
    def use(self) -> UseCount:
        """Who uses it now."""

    @property
    def closed(self) -> bool:
        """Whether somebody closed it, so that it answers no more."""

    def memory(self) -> MemoryUse:
        """What it holds, by device."""

    def close(self) -> None:
        """Frees its weights. Answers in work end as cancelled."""


class Embedder(LoadedModel, Protocol):
    """Texts to vectors."""

    @property
    def can_embed(self) -> bool: ...

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """A vector of length one for each text (or its token ids), and how many tokens were read.

        Raises:
            UnsupportedContent, EmptyMessage, MessageTooLong, Cancelled.
        """


class ChatModel(Embedder, Protocol):
    """Messages to an answer.

    takes_tools: whether the model is told of tools. can_complete: whether a raw prompt can be gone on with.
    """

    @property
    def context_tokens(self) -> int: ...

    @property
    def takes_tools(self) -> bool: ...

    @property
    def can_complete(self) -> bool: ...

    def prompt(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[Mapping[str, Any]] | None = None,
        settings: GenerationSettings | None = None,
        keep_all: bool = False,
    ) -> Prompt:
        """What the model would be sent. See `llm.runtime.chat_model.EngineChatModel.prompt`."""

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_all: bool = False,
    ) -> Generator[Event, None, None]:
        """Events of one answer; `Finished` is last. Closing the iterator ends the work."""

    def complete(
        self, prompt: str | Sequence[int], settings: GenerationSettings, cancel: Cancel | None = None
    ) -> Generator[Event, None, None]:
        """Goes on with a raw prompt, without a chat template; events as of `stream`.

        Raises:
            UnsupportedContent: not `can_complete`.
        """


class Reranker(LoadedModel, Protocol):
    """A question and texts to how well each answers it."""

    def rank(self, question: str, texts: Sequence[str], cancel: Cancel | None = None) -> tuple[list[float], int]:
        """A score from 0 to 1 for each text, in their order, and how many tokens were read.

        Raises:
            MessageTooLong, Cancelled.
        """


class Transcriber(LoadedModel, Protocol):
    """Recordings to text.

    runtime: the library that runs it. languages: the codes that can be chosen; empty where only the server knows.
    """

    @property
    def runtime(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]: ...

    def transcribe(
        self, audio: Recording | str | Path, options: SpeechOptions, cancel: Cancel | None = None
    ) -> Generator[SpeechEvent, None, None]:
        """See `llm.speech.transcriber.transcribe`."""


class CaptionModel(LoadedModel, Protocol):
    """Which of several captions fits a picture."""

    def rank(self, part: ImagePart, captions: Sequence[str]) -> list[tuple[str, float]]:
        """The captions with their shares of 1, the best first."""
