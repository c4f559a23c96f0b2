"""What deserves a look, and how a long recording is cut within bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llm.speech.audio import SAMPLE_RATE, blocks
from llm.speech.chunks import BATCHED, SEQUENTIAL, Chunk, Cutting, chunks
from llm.speech.marks import Marker, marked
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment


def marks(*texts: str) -> list[tuple[str, ...]]:
    marker = Marker(SpeechOptions())
    return [marker(Segment(text, i, i + 1), 1.0).marks for i, text in enumerate(texts)]


def test_repeats_are_marked_short_answers_are_not():
    assert marks("Thank you for watching.", "thank you for watching") == [(), ("repeat",)]
    assert marks("Yes.", "Yes.") == [(), ()]
    assert marks("Yes.", "Yes.", "Yes.")[2] == ("repeat",)
    assert marks("请订阅我的频道", "别的话", "请订阅我的频道")[2] == ("repeat",)
    assert marks("la la la la la la la la la la") == [("repeat",)]
    assert marks("It was the best of times, it was the worst of times") == [()]


def test_silence_and_doubt_are_marked():
    marker = Marker(SpeechOptions())
    assert marker(Segment("Subtitles by a fan", 0, 4), 0.1).marks == ("silence",)
    assert marker(Segment("Music plays on", 4, 8, no_speech_prob=0.9, avg_logprob=-0.8), 1.0).marks == ("silence",)
    assert marker(Segment("Hardly heard words", 8, 9, avg_logprob=-1.4), 1.0).marks == ("unlikely",)
    assert marker(Segment("Clear words", 9, 10, no_speech_prob=0.9, avg_logprob=-0.1), 1.0).marks == ()


def test_an_edit_takes_the_repeat_mark_away_and_leaves_the_others():
    before = [Segment("same words", 0, 1), Segment("other words", 1, 2, marks=("repeat", "silence"))]
    assert [s.marks for s in marked(before, SpeechOptions())] == [(), ("silence",)]


def speech_for(path: Path, minutes: float) -> Iterator[np.ndarray]:
    """A recording of that length, made of a short one over and over, never held at once."""
    left = round(minutes * 60 * SAMPLE_RATE)
    while left > 0:
        for block in blocks(path, "a"):
            yield block[:left]
            left -= len(block)
            if left <= 0:
                return


@pytest.mark.parametrize("cutting", [BATCHED, SEQUENTIAL])
def test_chunks_hold_the_speech_in_order_and_no_more(two_cities: Path, cutting: Cutting):
    made = list(chunks(speech_for(two_cities, 7), cutting))
    assert made[0].duration_s <= 16
    assert all(chunk.duration_s <= cutting.longest_s + 0.1 for chunk in made)
    pieces = [piece for chunk in made for piece in chunk.pieces]
    assert all(a < b for a, b in pieces)
    assert all(left[1] <= right[0] for left, right in pairwise(pieces))
    heard_s = sum(b - a for a, b in pieces) / SAMPLE_RATE
    assert 0.85 * 420 < heard_s < 0.99 * 420  # the recording has short pauses only
    assert sum(len(chunk.samples) for chunk in made) == sum(b - a for a, b in pieces)
    if cutting is BATCHED:
        full = [chunk.duration_s for chunk in made[1:-1]]
        assert sum(full) / len(full) > 25  # windows are well filled


def test_kept_silence_is_everything(two_cities: Path):
    made = list(chunks(speech_for(two_cities, 2.5), Cutting(30.0, 0.16, keep_silence=True)))
    assert sum(len(chunk.samples) for chunk in made) == 150 * SAMPLE_RATE
    assert made[0].pieces[0][0] == 0 and made[-1].upto == 150 * SAMPLE_RATE


def test_silence_alone_gives_nothing():
    quiet = (np.zeros(10 * SAMPLE_RATE, np.float32) for _ in range(9))
    assert list(chunks(quiet, BATCHED)) == []


def test_memory_does_not_grow_with_the_recording(two_cities: Path):
    def peak(minutes: float) -> int:
        tracemalloc.start()
        for chunk in chunks(speech_for(two_cities, minutes), BATCHED):
            assert isinstance(chunk, Chunk)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    short, long = peak(6), peak(12)
    assert long < 1.3 * short + 4e6
    assert long < 200e6


def test_times_find_their_way_back():
    rate = SAMPLE_RATE
    chunk = Chunk(np.zeros(5 * rate, np.float32), ((10 * rate, 12 * rate), (20 * rate, 23 * rate)), (), 0)
    assert chunk.place(0.5, 1.5) == (10.5, 11.5)
    assert chunk.place(2.0, 5.0) == (20.0, 23.0)
    assert chunk.place(0.0, 2.0) == (10.0, 12.0)
    assert chunk.place_word(1.9, 2.4) == (20.0, pytest.approx(20.4))
    assert chunk.place_word(1.5, 2.2) == (11.5, 12.0)
