"""A loaded speech model as everybody sees it: a recogniser that several recordings share."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.errors import CannotTranslate, ModelNotThere
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory
from llm.speech.options import SpeechOptions
from llm.speech.segments import SpeechEvent
from llm.speech.transcriber import Recogniser, Recording, transcribe


class LoadedRecogniser(Recogniser, Protocol):
    """What `llm.engines.whisper.load` returns.

    runtime: `ctranslate2` or `transformers`; `plan.reason` says why. languages: the codes that can be chosen.
    """

    plan: LoadPlan
    runtime: str
    languages: tuple[str, ...]

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""


# Trained without translations: they write down as spoken, whatever they are asked
# (https://github.com/openai/whisper/discussions/2363, and the cards of distil-whisper).
_NOT_TRANSLATING = ("turbo", "distil", ".en")


class SpeechModel:
    """See `llm.runtime.protocols.Transcriber`."""

    def __init__(self, entry: ModelEntry, recogniser: LoadedRecogniser) -> None:
        self.entry = entry
        self.plan = recogniser.plan
        self.runtime = recogniser.runtime
        self.languages = recogniser.languages
        self.use = UseCount()
        named = f"{entry.id} {entry.name}".lower()
        self.translates = not any(mark in named for mark in _NOT_TRANSLATING)
        self._recogniser: LoadedRecogniser | None = recogniser

    def transcribe(
        self, audio: Recording | str | Path, options: SpeechOptions, cancel: Cancel | None = None
    ) -> Generator[SpeechEvent, None, None]:
        """See `llm.speech.transcriber.transcribe`. Several may run at once; their windows take turns."""
        if not isinstance(audio, Recording):
            audio = Recording(audio, Path(audio).name)
        if options.task == "translate" and not self.translates:
            raise CannotTranslate(model=self.entry.name)
        recogniser = self._recogniser
        if recogniser is None:
            raise ModelNotThere(model=self.entry.name)
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            yield from transcribe(recogniser, audio, options, cancel or Cancel())

    @property
    def closed(self) -> bool:
        return self._recogniser is None

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        return self._recogniser.memory() if self._recogniser is not None else MemoryUse()

    def close(self) -> None:
        """Frees the weights once the last running transcription lets go of them."""
        self._recogniser = None
