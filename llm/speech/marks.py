"""Which segments deserve a look: Whisper writes text where nobody speaks, and gets stuck repeating itself."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from llm.speech.options import SpeechOptions
from llm.speech.segments import Mark, Segment

SPEECH_SHARE = 0.25
"""With less speech than this part of its time, a segment's text stands over silence."""
LOW_PROBABILITY = 0.5
"""Words less probable than this are shaded."""
UNLIKELY_LOGPROB = -1.0
_MEMORY = 3  # segments back in which the same words make a repeat
_SHORT = 4  # letters; so short a text may well be said twice ("Yes.")
_LOOP = re.compile(r"(.{2,60}?)\1{3,}", re.DOTALL)


class Marker:
    """Marks segments in the order in which they come."""

    def __init__(self, options: SpeechOptions) -> None:
        self._options = options
        self._seen: deque[str] = deque(maxlen=_MEMORY)

    def __call__(self, segment: Segment, speech_share: float) -> Segment:
        """The segment with its marks. `speech_share` from 0 to 1: how much of its time is speech."""
        marks: list[Mark] = []
        letters = plain(segment.text)
        if self.repeats(letters) or segment.compression_ratio > self._options.compression_ratio_threshold:
            marks.append("repeat")
        if speech_share < SPEECH_SHARE or (
            segment.no_speech_prob > self._options.no_speech_threshold
            and segment.avg_logprob < self._options.log_prob_threshold / 2
        ):
            marks.append("silence")
        if segment.avg_logprob < UNLIKELY_LOGPROB:
            marks.append("unlikely")
        self._seen.append(letters)
        return replace(segment, marks=tuple(marks))

    def repeats(self, letters: str) -> bool:
        """Whether words were said just before, or go round in a loop by themselves. Plain letters."""
        if len(letters) > _SHORT and letters in self._seen:
            return True
        return list(self._seen)[-2:] == [letters, letters] or bool(_LOOP.search(letters))


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 text over bytes of its zlib compression (Whisper's measure of a loop)."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def plain(text: str) -> str:
    """Letters and digits only, in one case and one width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isalnum())


def marked(segments: Iterable[Segment], options: SpeechOptions) -> list[Segment]:
    """Segments with their repeats found again after an edit; what silence and the model say stays as it was."""
    marker = Marker(options)
    done = []
    for segment in segments:
        kept = [mark for mark in segment.marks if mark != "repeat"]
        again = [mark for mark in marker(segment, 1.0).marks if mark == "repeat"]
        done.append(replace(segment, marks=tuple([*again, *kept])))
    return done
