"""A recording through a recogniser: decoded in pieces, cut at pauses, recognised, put back in its place and marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy
from numpy.typing import NDArray

from llm.cancel import Cancel
from llm.errors import NoSpeech
from llm.speech.audio import SAMPLE_RATE, AudioSource, blocks, probe
from llm.speech.chunks import BATCHED, SEQUENTIAL, Chunk, chunks, speech_share
from llm.speech.marks import Marker
from llm.speech.options import SpeechOptions, choose_decoding
from llm.speech.segments import Segment, SpeechEvent, SpeechFinished, SpeechProgress, SpeechStarted, Word

PAUSE_S = 3.0
"""A segment is divided where its words are further apart: the recogniser didn't hear the silence that was cut out."""
SURE = 0.5
"""A language that is less probable than this is looked for in further chunks."""
_LOOKS = 4
_CONTEXT_CHARS = 800  # more than the 223 tokens of context that Whisper takes
_MISSING_PART, _MISSING_S = 0.02, 2.0  # headers round; less than this is not missing


class Recogniser(Protocol):
    """What runs the model. Segments come with times within their chunk."""

    batch: int
    """How many chunks to decode together."""

    def detect(self, chunk: Chunk) -> tuple[str, float]:
        """The language and its probability."""

    def together(self, chunks: Sequence[Chunk], language: str, options: SpeechOptions) -> Iterator[tuple[int, Segment]]:
        """Decodes chunks of at most 30 s as one batch: the chunk's index and a segment of it, in order."""

    def alone(self, chunk: Chunk, language: str, options: SpeechOptions, context: str) -> Iterator[Segment]:
        """Decodes a chunk of any length window by window. `context`: the text before it."""


LEAST_S = 0.02
"""A segment's least length in seconds."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What to transcribe. `name` for people; `start_s` to `end_s` is the passage that is wanted, None: to the end."""

    source: AudioSource
    name: str
    start_s: float = 0.0
    end_s: float | None = None


def transcribe(
    recogniser: Recogniser, recording: Recording, options: SpeechOptions, cancel: Cancel
) -> Iterator[SpeechEvent]:
    """`SpeechStarted`, then segments and progress, `SpeechFinished` last. Cancelling keeps what was sent.

    Raises:
        EmptyAudio, NotAudio, NoAudioStream, AudioTooLong: see `llm.speech.audio`.
        NoSpeech: nobody speaks and the voice activity filter is on.
    """
    info = probe(recording.source, recording.name)
    end_s = recording.end_s if recording.end_s is not None else info.duration_s
    decoding, why = choose_decoding(options, None if end_s is None else end_s - recording.start_s)
    cutting = replace(BATCHED if decoding == "batched" else SEQUENTIAL, keep_silence=not options.vad_filter)
    heard = _Counted(blocks(recording.source, recording.name, recording.start_s, recording.end_s))
    with closing(chunks(heard, cutting, recording.start_s)) as cut:
        language, sure, rest = _language(recogniser, cut, options)
        if language is None:
            raise NoSpeech(name=recording.name, duration_s=recording.start_s + heard.seconds)
        yield SpeechStarted(language, sure, info.duration_s, decoding, why)
        marker = Marker(options)
        groups = _batches(rest, recogniser.batch) if decoding == "batched" else ([chunk] for chunk in rest)
        context = options.initial_prompt
        for group in groups:
            if decoding == "batched":
                found = recogniser.together(group, language, options)
            else:
                found = ((0, segment) for segment in recogniser.alone(group[0], language, options, context))
            for index, segment in found:
                for placed in _placed(group[index], segment):
                    share = speech_share(group[index].speech, placed.start_s, placed.end_s)
                    placed = placed if options.word_timestamps else replace(placed, words=())
                    yield marker(placed, share)
                    yield SpeechProgress(placed.end_s, end_s)
                    context = (context + " " + placed.text)[-_CONTEXT_CHARS:]
                if cancel.is_set():
                    break
            if cancel.is_set():
                yield SpeechFinished("cancelled", recording.start_s + heard.seconds)
                return
            context = context if options.condition_on_previous_text else ""
            yield SpeechProgress(group[-1].upto / SAMPLE_RATE, end_s)
    read_s = recording.start_s + heard.seconds
    yield SpeechFinished("stop", read_s, _missing_s(end_s, read_s))


class _Counted:
    """Blocks as they come, and how long they were."""

    def __init__(self, source: Iterator[NDArray[numpy.float32]]) -> None:
        self._source = source
        self.seconds = 0.0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> NDArray[numpy.float32]:
        block = next(self._source)
        self.seconds += len(block) / SAMPLE_RATE
        return block


def _language(
    recogniser: Recogniser, cut: Iterator[Chunk], options: SpeechOptions
) -> tuple[str | None, float, Iterable[Chunk]]:
    """The language, its probability and all the chunks; None when there is no chunk.

    Looks at one chunk, and at more while none is convincing; then the likeliest of all wins.
    """
    seen: list[Chunk] = []
    best: tuple[str | None, float] = (None, 0.0)
    for chunk in cut:
        seen.append(chunk)
        if options.language:
            best = (options.language, 1.0)
            break
        best = max(best, recogniser.detect(chunk), key=lambda found: found[1])
        if best[1] >= SURE or len(seen) == _LOOKS:
            break
    return *best, chain(seen, cut)


def _batches(cut: Iterable[Chunk], full: int) -> Iterator[list[Chunk]]:
    """Chunks in groups that grow: one, half of a full one, then full ones, so that the first words appear soon."""
    size, group = 1, []
    for chunk in cut:
        group.append(chunk)
        if len(group) == size:
            yield group
            size, group = full if size > 1 else max(1, full // 2), []
    if group:
        yield group


def _placed(chunk: Chunk, segment: Segment) -> Iterator[Segment]:
    """A segment with times of the file, divided at long pauses between its words."""
    if not segment.words:
        # Whisper gives some segments no length, or a place after the sound's end; their words were said all the same.
        begin_s = max(0.0, min(segment.start_s, chunk.duration_s - LEAST_S))
        start_s, end_s = chunk.place(begin_s, max(min(segment.end_s, chunk.duration_s), begin_s + LEAST_S))
        if segment.text:
            yield replace(segment, start_s=start_s, end_s=max(end_s, start_s + LEAST_S))
        return
    words: list[Word] = []
    for word in segment.words:
        start_s, end_s = chunk.place_word(word.start_s, word.end_s)
        if words and start_s - words[-1].end_s > PAUSE_S:
            yield _of_words(segment, words)
            words = []
        words.append(replace(word, start_s=start_s, end_s=end_s))
    yield _of_words(segment, words)


def _of_words(segment: Segment, words: list[Word]) -> Segment:
    words = [replace(words[0], text=words[0].text.lstrip()), *words[1:]]
    words = [*words[:-1], replace(words[-1], text=words[-1].text.rstrip())]
    text = "".join(word.text for word in words)
    return replace(segment, text=text, words=tuple(words), start_s=words[0].start_s, end_s=words[-1].end_s)


def _missing_s(said_s: float | None, read_s: float) -> float:
    if said_s is None or said_s - read_s < max(_MISSING_S, said_s * _MISSING_PART):
        return 0.0
    return said_s - read_s
