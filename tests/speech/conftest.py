"""The starter speech model, real voices, and sound files made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llm.catalogue.lookup import find
from llm.config import config
from llm.engines.whisper.engine import load
from llm.plan import LoadPlan
from llm.runtime.speech_model import SpeechModel
from tests.conftest import fetched
from tests.speech import samples

STARTER = "faster-whisper-base"
RATE = 16_000


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    """The starter speech model's folder."""
    return fetched(STARTER)


@pytest.fixture(scope="session")
def whisper(whisper_folder: Path) -> Iterator[SpeechModel]:
    entry = find(STARTER)
    model = SpeechModel(entry, load(entry, whisper_folder, LoadPlan(device="cpu"), lambda *_: None))
    yield model
    model.close()


@pytest.fixture(scope="session")
def two_cities() -> Path:
    return samples.two_cities()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder."""
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path / "home"))
    config.cache_clear()
    yield tmp_path / "home"
    config.cache_clear()


def tone(seconds: float) -> np.ndarray:
    """A quiet 440 Hz tone, int16."""
    return (np.sin(np.arange(round(seconds * RATE)) * 2 * np.pi * 440 / RATE) * 8000).astype(np.int16)


@pytest.fixture
def sound_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file: `sound_file("a.mkv", codec="aac", seconds=3, film=True)`."""

    def write(name: str, codec: str, seconds: float = 3.0, film: bool = False, sound: bool = True) -> Path:
        import av

        path = tmp_path / name
        with av.open(str(path), "w") as container:
            if film:
                video = container.add_stream("mpeg4", rate=5)
                video.width = video.height = 64
                video.pix_fmt = "yuv420p"
            if sound:
                rate = 48_000 if "opus" in codec else RATE
                audio = container.add_stream(codec, rate=rate, layout="mono")
                container.start_encoding()
            if film:
                for number in range(round(seconds * 5)):
                    frame = av.VideoFrame(64, 64, "yuv420p")
                    frame.pts = number
                    container.mux(video.encode(frame))
                container.mux(video.encode(None))
            if sound:
                frame = av.AudioFrame.from_ndarray(tone(seconds).reshape(1, -1), "s16", "mono")
                frame.sample_rate, frame.pts = RATE, 0
                resampler = av.AudioResampler(
                    audio.format, "mono", rate, frame_size=audio.codec_context.frame_size or None
                )
                for part in [*resampler.resample(frame), *resampler.resample(None)]:
                    container.mux(audio.encode(part))
                container.mux(audio.encode(None))
        return path

    return write
