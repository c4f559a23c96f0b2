"""Sound in windows of the model's length: a time line over the whole, every second counted once."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from llm.cancel import Cancel
from llm.errors import BrokenSamples, Cancelled, NotAudio, NotFound, SoundTooShort
from llm.tasks import sound_heads
from llm.tasks.sounds import read_sound, windows
from tests.speech import samples

RATE = 16_000


def _tone(seconds: float, rate: int = RATE, hertz: float = 440) -> np.ndarray:
    return (np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * hertz / rate) * 0.4).astype(np.float32)


def _wav(channels: np.ndarray, rate: int) -> bytes:
    """A 16-bit file of samples of shape (n, channels)."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((channels * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def test_every_second_counts_once_and_the_last_window_is_full() -> None:
    cut = list(windows((_tone(25), RATE), RATE, 10.0))
    assert [(w.start_s, w.end_s) for w in cut] == [(0, 10), (10, 20), (15, 25)]
    assert sum(w.counts_s for w in cut) == 25 and {len(w.samples) for w in cut} == {10 * RATE}
    assert np.array_equal(read_sound((_tone(25), RATE), RATE), _tone(25))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_one_loud_channel_of_two_at_any_rate_is_heard(rate: int) -> None:
    left = np.stack([_tone(3, rate), np.zeros(3 * rate, np.float32)], 1)
    for source in (_wav(left, rate), (left, rate), (left.T, rate), {"raw": left, "sampling_rate": rate}):
        heard = read_sound(source, RATE, "a.wav")
        assert len(heard) == pytest.approx(3 * RATE, rel=0.01) and np.abs(heard).max() > 0.15
        spectrum = np.abs(np.fft.rfft(heard[:RATE]))
        assert spectrum.argmax() == pytest.approx(440, abs=2)


def test_a_rate_of_the_models_own_keeps_what_is_above_8_khz() -> None:
    heard = read_sound(_wav(_tone(1, 48_000, 12_000)[:, None], 48_000), 32_000, "a.wav")
    assert np.abs(np.fft.rfft(heard[:32_000])).argmax() == pytest.approx(12_000, abs=2)


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SoundTooShort):
        read_sound((_tone(0.01), RATE), RATE)
    with pytest.raises(SoundTooShort):
        read_sound((np.zeros(0, np.float32), RATE), RATE)
    broken = _tone(1)
    broken[100] = np.nan
    with pytest.raises(BrokenSamples):
        read_sound((broken, RATE), RATE)
    with pytest.raises(NotAudio):
        read_sound(b"words", RATE, "a.txt")
    with pytest.raises(NotFound):
        read_sound(tmp_path / "nowhere.wav", RATE)


def _wav2vec2() -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=4,
        classifier_proj_size=8,
        id2label={0: "yes", 1: "no"},
    )
    return transformers.Wav2Vec2ForSequenceClassification(config).eval(), transformers.Wav2Vec2FeatureExtractor()


def _ast() -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, id2label={0: "a", 1: "b"}
    )
    return transformers.ASTForAudioClassification(config).eval(), transformers.ASTFeatureExtractor()


@pytest.mark.parametrize("make", [_wav2vec2, _ast])
def test_a_short_sound_has_the_pipelines_scores(make: Callable[[], tuple[Any, Any]]) -> None:
    model, extractor = make()
    line = sound_heads.listen(model, extractor, (_tone(2), RATE))
    theirs = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    expected = {row["label"]: row["score"] for row in theirs(_tone(2))}
    assert line.means == pytest.approx([expected[label] for label in line.labels], abs=1e-5)


def test_a_long_sound_is_heard_to_its_end() -> None:
    """AST hears 10.24 s; transformers' pipeline drops the rest."""
    sound = np.concatenate([_tone(30), np.zeros(15 * RATE, np.float32)])
    line = sound_heads.listen(*_ast(), (sound, RATE))
    assert line.spans_s[-1][1] == 45 and len(line.spans_s) == 5
    assert line.weights.sum() == pytest.approx(45)
    assert not np.allclose(line.scores[0], line.scores[-1], atol=1e-4)
    assert line.means.sum() == pytest.approx(1, abs=1e-5)


def test_a_stop_ends_between_two_windows() -> None:
    cancel = Cancel()
    with pytest.raises(Cancelled):
        sound_heads.listen(*_wav2vec2(), (_tone(30), RATE), cancel=cancel, progress=lambda _: cancel.set())


def test_speech_is_told_from_silence_and_where_it_is(network: Callable[[str], Any]) -> None:
    voice = read_sound(samples.two_cities(), RATE)[: 4 * RATE]
    sound = np.concatenate([np.zeros(3 * RATE, np.float32), voice, np.zeros(3 * RATE, np.float32)])
    line = sound_heads.when_somebody_speaks(network("silero-vad-v6"), (sound, RATE))
    speaks = {round(start, 2): score[0] > 0.5 for (start, _), score in zip(line.spans_s, line.scores, strict=True)}
    assert not any(said for start, said in speaks.items() if start < 2.5 or start > 7.5)
    assert sum(said for start, said in speaks.items() if 3 < start < 7) > 8
    assert line.weights.sum() == pytest.approx(10) and line.spans_s[-1][1] == 10
