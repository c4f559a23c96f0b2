"""Sound through networks that tell what sounds: windows over the whole recording, so that there is a time line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.cancel import Cancel
from llm.errors import Cancelled
from llm.tasks.image_heads import label_names, scores_of
from llm.tasks.networks import VAD_RATE, VAD_SAMPLES, speech_shares
from llm.tasks.sounds import SoundSource, windows

WINDOW_S = 10.0
"""Seconds that a network of any length is given at once: memory grows with them."""
VAD_STEP_S = 0.256
"""Length of a stretch on the time line of speech: eight of the network's windows."""


@dataclass(frozen=True, slots=True)
class TimeLine:
    """What sounds when. spans_s: (start, end) of each window. scores: (windows, labels). weights: seconds of each."""

    labels: Sequence[str]
    spans_s: tuple[tuple[float, float], ...]
    scores: np.ndarray
    weights: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """A score for each label over the whole recording, windows weighted by their length."""
        found: np.ndarray = np.average(self.scores, axis=0, weights=self.weights)
        return found


def listen(
    model: Any,
    extractor: Any,
    source: SoundSource,
    name: str = "",
    cancel: Cancel | None = None,
    progress: Callable[[float], None] | None = None,
) -> TimeLine:
    """An audio-classification head of transformers over a recording.

    Args:
        progress: called with the seconds done.

    Raises:
        Cancelled; as `llm.tasks.sounds.windows`.
    """
    import torch

    rate = int(extractor.sampling_rate)
    spans, scores, weights = [], [], []
    for window in windows(source, rate, window_length_s(model, extractor), name):
        if cancel is not None and cancel.is_set():
            raise Cancelled(what=name or "The sound")
        inputs = extractor(window.samples, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits[0]
        spans.append((window.start_s, window.end_s))
        scores.append(scores_of(logits, model.config))
        weights.append(window.counts_s)
        if progress is not None:
            progress(window.end_s)
    return TimeLine(label_names(model.config, len(scores[0])), tuple(spans), np.stack(scores), np.array(weights))


def window_length_s(model: Any, extractor: Any) -> float:
    """Seconds that a model hears at once: AST's spectrogram of `max_length` frames of 10 ms, else `WINDOW_S`."""
    frames = getattr(extractor, "max_length", None) if hasattr(extractor, "num_mel_bins") else None
    return WINDOW_S if not frames else float(frames) * 0.010


def when_somebody_speaks(network: Any, source: SoundSource, name: str = "", cancel: Cancel | None = None) -> TimeLine:
    """Speech or not, a quarter of a second at a time, by Silero VAD. Raises as `listen`."""
    step = round(VAD_STEP_S * VAD_RATE)
    spans, shares, weights = [], [], []
    for window in windows(source, VAD_RATE, 600.0, name):
        if cancel is not None and cancel.is_set():
            raise Cancelled(what=name or "The sound")
        new = round(window.counts_s * VAD_RATE)
        speech = speech_shares(network, window.samples)
        for at in range(len(window.samples) - new, len(window.samples), step):
            end = min(at + step, len(window.samples))
            spans.append((window.start_s + at / VAD_RATE, window.start_s + end / VAD_RATE))
            shares.append(float(speech[at // VAD_SAMPLES : -(-end // VAD_SAMPLES)].max()))
            weights.append((end - at) / VAD_RATE)
    scores = np.array([[share, 1 - share] for share in shares])
    return TimeLine(("speech", "no speech"), tuple(spans), scores, np.array(weights))
