"""Sound files of every kind, and what is not one."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llm.errors import AudioTooLong, EmptyAudio, NoAudioStream, NotAudio
from llm.speech import audio
from llm.speech.audio import SAMPLE_RATE, blocks, probe
from llm.speech.playable import playable
from tests.speech.conftest import RATE, tone

KINDS = [
    ("a.wav", "pcm_s16le", False, "audio/wav"),
    ("a.mp3", "libmp3lame", False, "audio/mpeg"),
    ("a.flac", "flac", False, "audio/flac"),
    ("a.ogg", "libopus", False, "audio/ogg"),
    ("a.m4a", "aac", False, "audio/mp4"),
    ("a.webm", "libopus", False, "audio/webm"),
    ("a.mp4", "aac", True, ""),
    ("a.mkv", "aac", True, ""),
    ("a.avi", "libmp3lame", True, ""),
]


def read(source, name: str = "a", **kwargs) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks(source, name, **kwargs)])


@pytest.mark.parametrize(("name", "codec", "film", "media_type"), KINDS)
def test_every_kind_decodes_to_the_same_sound(sound_file: Callable[..., Path], name, codec, film, media_type):
    path = sound_file(name, codec, seconds=3, film=film)
    info = probe(path, name)
    assert info.media_type == media_type
    assert info.duration_s == pytest.approx(3, abs=0.3)
    samples = read(path)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(3 * SAMPLE_RATE, abs=0.15 * SAMPLE_RATE)
    middle = samples[SAMPLE_RATE : 2 * SAMPLE_RATE]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440, abs=1)  # 1 s: bins are Hz


def test_blocks_are_short_and_complete(sound_file: Callable[..., Path]):
    path = sound_file("long.wav", "pcm_s16le", seconds=65)
    sizes = [len(block) for block in blocks(path, "long.wav")]
    assert max(sizes) <= 11 * SAMPLE_RATE
    assert sum(sizes) == 65 * SAMPLE_RATE


def test_a_passage_is_exactly_that_stretch(sound_file: Callable[..., Path]):
    path = sound_file("a.wav", "pcm_s16le", seconds=25)
    whole = read(path)
    part = read(path, start_s=9.5, end_s=21.25)
    np.testing.assert_array_equal(part, whole[round(9.5 * SAMPLE_RATE) : round(21.25 * SAMPLE_RATE)])


def test_a_stream_without_a_name_is_read(sound_file: Callable[..., Path]):
    data = sound_file("a.mp3", "libmp3lame").read_bytes()
    assert len(read(io.BytesIO(data))) > 2.8 * SAMPLE_RATE


def test_late_sound_keeps_the_films_clock(tmp_path: Path):
    import av

    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(20):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        frame = av.AudioFrame.from_ndarray(tone(1).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = RATE, 2 * RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    samples = read(path)
    assert np.abs(samples[: round(1.9 * SAMPLE_RATE)]).max() == 0
    assert np.abs(samples[round(2.1 * SAMPLE_RATE) :]).max() > 0.1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyAudio),
        (b"These are only words. " * 200, NotAudio),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), NotAudio),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, NotAudio),
        (bytes(100_000), (EmptyAudio, NotAudio)),
    ],
)
def test_what_is_not_sound_is_refused(tmp_path: Path, content: bytes, error: type[Exception]):
    path = tmp_path / "x.mp3"
    path.write_bytes(content)
    for source in (path, io.BytesIO(content)):
        with pytest.raises(error) as caught:
            read(source, "x.mp3")
        assert "x.mp3" in str(caught.value)


def test_a_playlist_opens_nothing(tmp_path: Path, sound_file: Callable[..., Path]):
    secret = sound_file("secret.wav", "pcm_s16le")
    for name, content in {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
        "a.txt": f"ffconcat version 1.0\nfile '{secret.name}'\n",
    }.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(NotAudio):
            probe(path, name)


def test_a_silent_film_has_no_sound(sound_file: Callable[..., Path]):
    with pytest.raises(NoAudioStream):
        probe(sound_file("a.mp4", "aac", film=True, sound=False), "a.mp4")


def test_a_header_without_samples_is_empty(tmp_path: Path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    with pytest.raises(EmptyAudio):
        read(path)


def test_ten_hours_are_refused_by_the_header_and_by_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = 36_000
    size = seconds * 2000
    header = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1000, 2000, 2, 16)
    path = tmp_path / "night.wav"
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size))
        file.truncate(size + 44)
    with pytest.raises(AudioTooLong) as caught:
        probe(path, "night.wav")
    assert caught.value.values == {"name": "night.wav", "hours": 10.0, "limit_hours": 6}
    # A file that says nothing, or too little, is stopped while it is decoded.
    monkeypatch.setattr(audio, "LONGEST_S", 20.0)
    monkeypatch.setattr(audio, "_info", lambda *_: audio.AudioInfo(None, "wav", "pcm_s16le", 1, RATE))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(tone(35).tobytes())
    with pytest.raises(AudioTooLong):
        read(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus")])
def test_a_truncated_file_gives_what_is_there(sound_file: Callable[..., Path], name, codec):
    path = sound_file(name, codec, seconds=20)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 5 * SAMPLE_RATE < len(read(path)) < 15 * SAMPLE_RATE


def test_damage_in_the_middle_costs_only_that(sound_file: Callable[..., Path]):
    path = sound_file("a.mp3", "libmp3lame", seconds=20)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(255 for _ in range(2000))
    path.write_bytes(data)
    assert len(read(path)) > 15 * SAMPLE_RATE


def test_what_browsers_cannot_play_is_kept_as_mp3(sound_file: Callable[..., Path]):
    film = sound_file("a.mkv", "aac", seconds=4, film=True)
    with film.open("rb") as source, playable(source, "a.mkv") as (copy, media_type):
        assert media_type == "audio/mpeg"
        assert probe(copy, "copy").media_type == "audio/mpeg"
        assert len(read(copy)) == pytest.approx(4 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)
    song = sound_file("a.mp3", "libmp3lame")
    with playable(song, "a.mp3") as (same, media_type):
        assert (same.read(), media_type) == (song.read_bytes(), "audio/mpeg")
