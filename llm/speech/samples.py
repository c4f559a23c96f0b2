"""From decoded frames of any layout to mono samples of one rate, in their place in time.

A file may change its rate, layout or sample format on the way, have an odd number of channels, channels of opposite
phase, or gaps in its packets' times; each would silence, shorten or shift what a plain downmix gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

LEAST_GAP_S = 0.25
"""A jump of packet times below this is inexact clockwork, and left alone."""
LONGEST_GAP_S = 3600.0
"""A jump beyond this is another clock, not silence."""
OPPOSED = 0.1
"""A downmix with less than this share of its loudest channel's level has lost it: their phases are opposed."""
_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "s64": 9223372036854775808.0, "flt": 1.0, "dbl": 1.0}


@dataclass(slots=True)
class MonoStream:
    """Frames in, mono float32 at `rate` out.

    keeps_gaps: the container's packet times can be trusted, so that a jump in them is silence.
    """

    rate: int
    keeps_gaps: bool
    _resampler: Any = None
    _source_rate: int = 0
    _next_s: float | None = None
    _pending: list[Samples] = field(default_factory=list)

    def of(self, frames: Iterable[Any]) -> Iterator[Samples]:
        """All samples of the frames, in order."""
        for frame in frames:
            yield from self._gap(frame)
            yield from self._resampled(mixed_down(channels_of(frame)), frame.sample_rate)
        yield from self._flushed()

    def _gap(self, frame: Any) -> Iterator[Samples]:
        if not self.keeps_gaps or frame.pts is None or not frame.time_base:
            return
        at_s = float(frame.pts * frame.time_base)
        expected_s = self._next_s
        self._next_s = at_s + frame.samples / max(frame.sample_rate, 1)
        if expected_s is not None and LEAST_GAP_S < at_s - expected_s < LONGEST_GAP_S:
            yield from self._flushed()
            missing = round((at_s - expected_s) * self.rate)
            for begin in range(0, missing, 10 * self.rate):
                yield np.zeros(min(10 * self.rate, missing - begin), np.float32)

    def _resampled(self, samples: Samples, source_rate: int) -> Iterator[Samples]:
        import av

        if source_rate != self._source_rate:
            yield from self._flushed()
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=self.rate)
            self._source_rate = source_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate = source_rate
        for part in self._resampler.resample(frame):
            yield part.to_ndarray().reshape(-1)

    def _flushed(self) -> Iterator[Samples]:
        """The few samples that the resampler holds back until told that nothing follows."""
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                yield part.to_ndarray().reshape(-1)
        self._resampler, self._source_rate = None, 0


def channels_of(frame: Any) -> Samples:
    """Float samples in [-1, 1], shape (channels, samples), whatever the frame's format and number of channels."""
    values = frame.to_ndarray()
    count = max(1, frame.layout.nb_channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, count).T
    scale = _FULL_SCALE[frame.format.name.removesuffix("p")]
    floats = values.astype(np.float32)
    samples: Samples = (floats - 128.0 if frame.format.name.startswith("u8") else floats) / np.float32(scale)
    return samples


def mixed_down(channels: Samples) -> Samples:
    """The channels' mean; where they cancel each other out, the loudest of them."""
    mean: Samples = channels.mean(axis=0, dtype=np.float32)
    levels = np.sqrt(np.square(channels, dtype=np.float32).mean(axis=1))
    loudest = int(levels.argmax())
    opposed = float(np.sqrt(np.square(mean).mean())) < OPPOSED * float(levels[loudest])
    mono: Samples = channels[loudest] if opposed else mean
    return mono
