"""Recordings as people have them: what a plain decoder silences, shortens, shifts or misnames."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from llm.errors import NotAudio, SilkAudio
from llm.speech.audio import blocks, own_view, probe
from llm.speech.languages import language_code
from llm.speech.playable import playable
from llm.speech.samples import mixed_down
from llm.speech.segments import joined

CASES = Path(__file__).with_name("cases")
RATE = 16_000


def heard(name: str) -> np.ndarray:
    return np.concatenate(list(blocks(CASES / name, name)))


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


def wav(seconds: float, channels: int = 1) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        tone = (np.sin(np.arange(int(seconds * RATE)) / 9) * 9000).astype("<i2")
        file.writeframes(np.repeat(tone[:, None], channels, axis=1).tobytes())
    return target.getvalue()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_nobody_moves_a_file_under_anothers_feet(kind: str, tmp_path: Path) -> None:
    """A draft is kept in the middle of a recording, from the very object that is being decoded."""
    data = wav(64)
    (tmp_path / "long.wav").write_bytes(data)
    with io.BytesIO(data) if kind == "memory" else open(tmp_path / "long.wav", "rb") as shared:
        decoded = 0
        for block in blocks(shared, "long.wav"):
            decoded += len(block)
            with playable(shared, "long.wav") as (copy, media_type):
                assert media_type == "audio/wav" and copy.read() == data
            shared.seek(5)
        assert decoded == 64 * RATE


def test_a_view_of_its_own_reads_and_seeks_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(200)) * 1000)
    with open(tmp_path / "x", "rb") as file:
        file.seek(7)
        view = own_view(file)
        assert view.read(3) == b"\0\1\2" and view.seek(-1, 2) == 199_999 and view.read() == b"\xc7"
        assert file.tell() == 7


def test_channels_of_opposite_phase_are_heard() -> None:
    assert level(heard("phase_inverted_stereo.wav")) > 0.05


def test_the_track_that_players_play_is_read() -> None:
    assert level(heard("two_tracks_second_default.mkv")) > 0.05


def test_a_gap_in_packet_times_is_silence_so_that_what_follows_stays_in_its_place() -> None:
    samples = heard("gap_of_ten_seconds.webm")
    assert abs(len(samples) / RATE - 15.27) < 0.3
    assert level(samples[4 * RATE : 11 * RATE]) < 1e-3 < 1e-2 < level(samples[-2 * RATE :])


def test_a_change_of_rate_in_the_middle_is_followed() -> None:
    assert abs(len(heard("rate_changes.mp3")) / RATE - 10.6) < 0.3


@pytest.mark.parametrize("name", ["silence_first.aac", "rate_changes.mp3"])
def test_a_length_that_is_only_guessed_is_not_told(name: str) -> None:
    assert probe(CASES / name, name).duration_s is None


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 7])
def test_any_number_of_channels(channels: int) -> None:
    samples = np.concatenate(list(blocks(io.BytesIO(wav(2, channels)), "odd.wav")))
    assert len(samples) == 2 * RATE and level(samples) > 0.15


def test_channels_that_differ_are_averaged() -> None:
    left, right = np.sin(np.arange(1000) / 9).astype(np.float32), np.zeros(1000, np.float32)
    assert np.allclose(mixed_down(np.stack([left, right])), left / 2)
    assert np.allclose(mixed_down(np.stack([left, -left])), left)


def test_a_voice_message_of_wechat_is_named() -> None:
    with pytest.raises(SilkAudio, match="SILK"):
        probe(CASES / "wechat_voice.silk", "wechat_voice.silk")


@pytest.mark.parametrize("place", [(20, b"\xfe\xff"), (34, b"\0\0"), (22, b"\0\0"), (24, b"\0\0\0\0")])
def test_a_header_that_lies_is_a_sentence(place: tuple[int, bytes]) -> None:
    data = bytearray(wav(1))
    data[place[0] : place[0] + len(place[1])] = place[1]
    try:
        assert all(len(block) for block in blocks(io.BytesIO(bytes(data)), "lies.wav"))
    except NotAudio as error:
        assert "lies.wav" in str(error)
    except Exception as error:
        assert type(error).__name__ in ("EmptyAudio", "NoAudioStream"), error


def test_sentences_of_scripts_without_blanks_are_joined_without_any() -> None:
    assert joined(["今天很好。", "我们去吧。"]) == "今天很好。我们去吧。"
    assert joined(["Hello there.", "How are you?"]) == "Hello there. How are you?"
    assert joined(["他说 OK", "然后走了", "", "bye"]) == "他说 OK然后走了bye"
    assert joined(["안녕하세요.", "반갑습니다."]) == "안녕하세요. 반갑습니다."


@pytest.mark.parametrize("name", ["zh", "ZH", "zh-CN", "zh_Hant_TW", "Chinese", "中文", "mandarin", " zh "])
def test_chinese_by_all_its_names(name: str) -> None:
    assert language_code(name) == "zh"


def test_other_names_of_languages() -> None:
    assert (language_code("EN"), language_code("pt-BR"), language_code("German"), language_code("auto")) == (
        "en", "pt", "de", None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="klingon"):
        language_code("klingon")
