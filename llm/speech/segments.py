"""What a recording says, as pure values: words, segments, and the events of a transcription. Times in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Mark: TypeAlias = Literal["repeat", "silence", "unlikely"]
"""Why a segment deserves a look: it repeats, it stands where nobody speaks, or the model hardly believed it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with the space before it, so that a segment's words joined are its text. `probability` from 0 to 1."""

    text: str
    start_s: float
    end_s: float
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech and its text, without spaces around it.

    avg_logprob: mean natural-log probability of the text's tokens.
    no_speech_prob: probability that the window holds no speech.
    compression_ratio: length of the window's UTF-8 text over its zlib length.
    temperature: at which it was decoded.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0
    temperature: float = 0.0
    marks: tuple[Mark, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "words": [asdict(word) for word in self.words], "marks": list(self.marks)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Segment:
        """A segment from `to_dict`'s output.

        Raises:
            TypeError: a name is unknown or missing.
        """
        words = tuple(Word(**word) for word in values.get("words", ()))
        return cls(**{**values, "words": words, "marks": tuple(values.get("marks", ()))})


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Always first. `why` is one of `options.choose_decoding`'s reasons; `duration_s` None while unknown.

    language_probability is 1 where the language was chosen.
    """

    language: str
    language_probability: float
    duration_s: float | None
    decoding: str
    why: str


@dataclass(frozen=True, slots=True)
class SpeechProgress:
    """How many seconds of the recording are done with. `total_s` None while unknown."""

    done_s: float
    total_s: float | None


@dataclass(frozen=True, slots=True)
class SpeechFinished:
    """Always last. `missing_s`: how much less could be read than the file says it holds."""

    reason: Literal["stop", "cancelled"]
    duration_s: float
    missing_s: float = 0.0


SpeechEvent: TypeAlias = SpeechStarted | Segment | SpeechProgress | SpeechFinished


@dataclass(frozen=True, slots=True)
class Transcription:
    """A recording's text with how it came about: what the store keeps and the exports read.

    options: `SpeechOptions.to_dict`. missing_s: see `SpeechFinished`. complete False: it was cancelled.
    took_s: seconds of work.
    """

    name: str
    language: str
    segments: tuple[Segment, ...] = ()
    language_probability: float = 1.0
    duration_s: float = 0.0
    model: str = ""
    runtime: str = ""
    decoding: str = ""
    why: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    missing_s: float = 0.0
    took_s: float = 0.0

    @property
    def text(self) -> str:
        """The words, a line a segment."""
        return "\n".join(segment.text for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "segments": [s.to_dict() for s in self.segments], "options": dict(self.options)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Transcription:
        """A transcription from `to_dict`'s output."""
        return cls(**{**values, "segments": tuple(Segment.of(segment) for segment in values["segments"])})


def joined(texts: Iterable[str]) -> str:
    """Segments' texts as one: with a blank between them, none where either side is of a script without blanks."""
    whole = ""
    for text in texts:
        gap = " " if whole and text and not (_WITHOUT_BLANKS.match(whole[-1]) or _WITHOUT_BLANKS.match(text[0])) else ""
        whole += gap + text
    return whole


# Chinese, Japanese, Thai, Lao, Khmer, Burmese and their full-width marks.
_WITHOUT_BLANKS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65]"
)
