"""A recording that every browser plays: the file itself where it can be, else its sound as MP3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llm.speech.audio import SAMPLE_RATE, AudioSource, blocks, own_view, probe

BIT_RATE = 48_000
"""Bits per second of the copy: speech in mono at 16 kHz, 22 MB an hour."""


@contextmanager
def playable(source: AudioSource, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """A binary stream at its start, and its media type. Films are left behind: only the sound is kept.

    Raises:
        EmptyAudio, NotAudio, NoAudioStream, AudioTooLong: see `llm.speech.audio`.
    """
    media_type = probe(source, name).media_type
    if media_type and isinstance(source, str | Path):
        with open(source, "rb") as file:
            yield file, media_type
    elif media_type and not isinstance(source, str | Path):
        yield own_view(source), media_type
    else:
        with tempfile.TemporaryFile() as copy:
            _encode(source, name, copy)
            copy.seek(0)
            yield copy, "audio/mpeg"


def _encode(source: AudioSource, name: str, target: BinaryIO) -> None:
    import av
    import numpy as np

    with av.open(target, mode="w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=BIT_RATE)
        at = 0
        for block in blocks(source, name):
            samples = (block * 32767.0).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16p", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, at
            at += samples.shape[1]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
