"""From a stream of sound to chunks for a recogniser: speech without the silence around it, with its place in the file.

Whisper hears 30 s at a time and takes as long for a short window as for a full one, so chunks are filled with
speech as far as they go. Only a few minutes of sound are held at any time, however long the recording is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from llm.speech.audio import SAMPLE_RATE

Piece: TypeAlias = tuple[int, int]
"""First sample and the one after the last, counted from the start of the file."""

FIRST_S = 15.0
"""The first chunk is short, so that the first words appear soon."""
FIRST_WINDOW_S = 40.0
WINDOW_S = 300.0
"""Sound that is looked at together, in seconds, beside what was left of the window before."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How to cut. longest_s: a chunk's sound. silence_s: how long a pause ends a piece of speech.

    keep_silence: chunks follow each other without gaps; only where to cut is chosen by the pauses.
    """

    longest_s: float
    silence_s: float
    keep_silence: bool = False


BATCHED = Cutting(30.0, 0.16)
"""As faster-whisper's batched pipeline has it."""
SEQUENTIAL = Cutting(240.0, 2.0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sound to recognise: `samples` float32, shape (n,), the `pieces` of the file joined.

    speech: where in the file speech was heard. upto: the sample before which the file is done after this chunk.
    """

    samples: np.ndarray
    pieces: tuple[Piece, ...]
    speech: tuple[Piece, ...]
    upto: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def place(self, start_s: float, end_s: float) -> tuple[float, float]:
        """A stretch of this chunk as a stretch of the file, in seconds, within the pieces that it touches."""
        return self._shifted(start_s, ending=False), self._shifted(end_s, ending=True)

    def place_word(self, start_s: float, end_s: float) -> tuple[float, float]:
        """The same for something too short to lie in two pieces: the one that holds its middle has it all."""
        middle = (start_s + end_s) / 2 * SAMPLE_RATE
        offset = 0
        for begin, end in self.pieces:
            if middle < offset + end - begin or (begin, end) == self.pieces[-1]:
                break
            offset += end - begin
        low, high = begin / SAMPLE_RATE, end / SAMPLE_RATE
        shift = low - offset / SAMPLE_RATE
        start = min(max(start_s + shift, low), high)
        return start, min(max(end_s + shift, start), high)

    def _shifted(self, time_s: float, ending: bool) -> float:
        sample = max(time_s * SAMPLE_RATE, 0.0)
        offset = 0
        for begin, end in self.pieces:
            size = end - begin
            if sample < offset + size or (ending and sample <= offset + size):
                return (begin + sample - offset) / SAMPLE_RATE
            offset += size
        return self.pieces[-1][1] / SAMPLE_RATE


def chunks(blocks: Iterator[np.ndarray], cutting: Cutting, start_s: float = 0.0) -> Generator[Chunk]:
    """Cuts a stream of samples. A recording without speech yields nothing, unless silence is kept.

    The last chunk of each window may go on in the next one, so its sound is kept and looked at again.
    """
    held = np.zeros(0, np.float32)
    at = round(start_s * SAMPLE_RATE)  # where in the file `held` begins
    first, over = True, False
    while not over:
        wanted = FIRST_WINDOW_S if first else WINDOW_S
        held, over = _filled(held, blocks, round(wanted * SAMPLE_RATE))
        now = Cutting(min(FIRST_S, cutting.longest_s), cutting.silence_s, cutting.keep_silence) if first else cutting
        speech = find_speech(held, now)
        ranges = _covering(speech, len(held), now) if cutting.keep_silence else speech
        packed = _packed(ranges, round(now.longest_s * SAMPLE_RATE))
        ready = packed[:1] if first and len(packed) > 1 else packed if over else packed[:-1]
        for index, pieces in enumerate(ready):
            upto = packed[index + 1][0][0] if index + 1 < len(packed) else len(held)
            yield _chunk(held, at, pieces, speech, upto)
        left = packed[len(ready)][0][0] if len(ready) < len(packed) else len(held)
        if first and over and len(ready) < len(packed):
            over = False  # only the first chunk is out yet; the rest is cut as usual
        held, at, first = held[left:].copy(), at + left, False


def find_speech(samples: np.ndarray, cutting: Cutting) -> list[Piece]:
    """Stretches in which somebody speaks (Silero VAD), each at most `cutting.longest_s` long, counted in samples."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if not len(samples):
        return []
    options = VadOptions(
        min_silence_duration_ms=round(cutting.silence_s * 1000), max_speech_duration_s=cutting.longest_s
    )
    found = get_speech_timestamps(samples, options)
    return [(int(piece["start"]), int(piece["end"])) for piece in found if piece["end"] > piece["start"]]


def speech_share(speech: Sequence[Piece], start_s: float, end_s: float) -> float:
    """Which part of a stretch is speech, from 0 to 1."""
    first, last = start_s * SAMPLE_RATE, end_s * SAMPLE_RATE
    if last <= first:
        return 1.0
    return sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in speech) / (last - first)


def _filled(held: np.ndarray, blocks: Iterator[np.ndarray], wanted: int) -> tuple[np.ndarray, bool]:
    """`held` with blocks after it until there are `wanted` new samples, and whether that was the last."""
    parts, count = [held], 0
    for block in blocks:
        parts.append(block)
        count += len(block)
        if count >= wanted:
            return np.concatenate(parts), False
    return np.concatenate(parts), True


def _packed(ranges: Sequence[Piece], longest: int) -> list[list[Piece]]:
    """Neighbouring ranges together as long as their sound fits and they don't span more than a window."""
    groups: list[list[Piece]] = []
    size = longest + 1
    for begin, end in ranges:
        if size + end - begin > longest or end - groups[-1][0][0] > WINDOW_S * SAMPLE_RATE:
            groups.append([])
            size = 0
        groups[-1].append((begin, end))
        size += end - begin
    return groups


def _covering(speech: Sequence[Piece], total: int, cutting: Cutting) -> list[Piece]:
    """All of the sound in ranges of at most the longest, cut in pauses where there are any in reach."""
    longest = round(cutting.longest_s * SAMPLE_RATE)
    pauses = [(end + begin) // 2 for (_, end), (begin, _) in pairwise(speech)]
    ranges, at = [], 0
    while at < total:
        reach = [pause for pause in pauses if at + longest // 2 < pause <= at + longest]
        cut = total if total - at <= longest else reach[-1] if reach else at + longest
        ranges.append((at, cut))
        at = cut
    return ranges


def _chunk(held: np.ndarray, at: int, pieces: Sequence[Piece], speech: Sequence[Piece], upto: int) -> Chunk:
    samples = np.concatenate([held[begin:end] for begin, end in pieces])
    near = [(b, e) for b, e in speech if e > pieces[0][0] and b < pieces[-1][1]]
    return Chunk(
        samples,
        tuple((begin + at, end + at) for begin, end in pieces),
        tuple((begin + at, end + at) for begin, end in near),
        upto + at,
    )
