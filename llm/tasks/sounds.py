"""Sound as the jobs take it: mono float32 at the model's rate, in windows of the length that the model hears."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from llm.errors import BrokenSamples, NotFound, SoundTooShort
from llm.speech.audio import blocks
from llm.speech.samples import MonoStream, mixed_down

SoundSource: TypeAlias = Any
"""A path, a file's bytes, a file object, or samples with their rate, `(array, rate)` or the pipelines' dict of both.

Arrays are of shape (n,), (n, channels) or (channels, n), whole numbers of 16 or 32 bits or floats in [-1, 1].
"""
LEAST_S = 0.1
"""Nothing shorter is judged: convolutions over it have no output, and people hear a click."""
_MOST_CHANNELS = 32


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of sound. samples: shape (n,). counts_s: how much of it no earlier window holds, its weight."""

    start_s: float
    end_s: float
    samples: np.ndarray
    counts_s: float


def windows(source: SoundSource, rate: int, window_s: float, name: str = "") -> Iterator[Window]:
    """Cuts sound into windows, one after the other; the last reaches back so that it is as long as the others.

    Raises:
        SoundTooShort: it lasts less than `LEAST_S`.
        BrokenSamples: some are no numbers.
        EmptyAudio, NotAudio, NoAudioStream, AudioTooLong: see `llm.speech.audio.blocks`.
    """
    length = max(1, round(window_s * rate))
    held, begin, previous = np.zeros(0, np.float32), 0, np.zeros(0, np.float32)
    for block in _samples(source, rate, name):
        if not np.isfinite(block).all():
            raise BrokenSamples(name=name or "The sound")
        held = np.concatenate([held, block])
        while len(held) >= length:
            previous, held = held[:length], held[length:]
            yield _window(previous, begin, length, rate)
            begin += length
    if begin == 0 and len(held) < LEAST_S * rate:
        raise SoundTooShort(name=name or "The sound", seconds=round(len(held) / rate, 3), least=LEAST_S)
    if len(held) and begin:
        both = np.concatenate([previous, held])[-length:]
        yield _window(both, begin + len(held) - length, len(held), rate)
    elif len(held):
        yield _window(held, 0, len(held), rate)


def read_sound(source: SoundSource, rate: int, name: str = "") -> np.ndarray:
    """All samples at once, shape (n,). Raises as `windows`."""
    parts = [window.samples[-round(window.counts_s * rate) :] for window in windows(source, rate, 10.0, name)]
    return np.concatenate(parts)


def _window(samples: np.ndarray, begin: int, counts: int, rate: int) -> Window:
    return Window(begin / rate, (begin + len(samples)) / rate, samples, counts / rate)


def _samples(source: SoundSource, rate: int, name: str) -> Iterator[np.ndarray]:
    if isinstance(source, Mapping):
        source = (source["raw"] if "raw" in source else source["array"], source["sampling_rate"])
    if isinstance(source, tuple):
        yield from _resampled(np.asarray(source[0]), int(source[1]), rate, name)
        return
    if isinstance(source, (str, Path)):
        if not Path(source).is_file():
            raise NotFound(what="file", id=str(source))
        name = name or Path(source).name
    elif isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(bytes(source))
    yield from blocks(source, name, rate=rate)


def _resampled(samples: np.ndarray, source_rate: int, rate: int, name: str) -> Iterator[np.ndarray]:
    """Samples from memory, mixed down and at the model's rate, in blocks of ten seconds."""
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / float(np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float32)
    if samples.ndim == 2 and samples.shape[0] > _MOST_CHANNELS >= samples.shape[1]:
        samples = samples.T
    if not np.isfinite(samples).all():
        raise BrokenSamples(name=name or "The sound")
    mono = samples if samples.ndim == 1 else mixed_down(samples)
    if source_rate == rate:
        yield mono
        return
    step = 10 * source_rate
    frames = (_frame(mono[at : at + step], source_rate) for at in range(0, len(mono), step))
    yield from MonoStream(rate, keeps_gaps=False).of(frames)


def _frame(samples: np.ndarray, rate: int) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate = rate
    return frame
