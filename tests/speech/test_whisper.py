"""The real model on real speech; checkpoints of transformers' layout, converted or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import find
from llm.engines.whisper import conversion as whisper_convert
from llm.engines.whisper.engine import load
from llm.errors import CorruptModel, NoSpeech, UnsupportedModel
from llm.plan import LoadPlan
from llm.runtime.speech_model import SpeechModel
from llm.speech.audio import SAMPLE_RATE
from llm.speech.exports import FORMATS
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription
from llm.speech.transcriber import Recording
from tests.speech import samples

ENTRY = ModelEntry("mine", "Mine", "automatic-speech-recognition", "whisper", "whisper")


def write_wav(path: Path, samples_int16: np.ndarray) -> Path:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples_int16.tobytes())
    return path


def segments_of(events: list) -> list[Segment]:
    return [event for event in events if isinstance(event, Segment)]


def text_of(events: list) -> str:
    return " ".join(segment.text for segment in segments_of(events))


@pytest.fixture(scope="module")
def reading(whisper: SpeechModel, two_cities: Path) -> list:
    return list(whisper.transcribe(two_cities, SpeechOptions()))


def test_a_reading_is_written_down(reading: list):
    started = reading[0]
    assert isinstance(started, SpeechStarted)
    assert (started.language, started.decoding, started.why) == ("en", "batched", "long")
    assert 0.8 < started.language_probability < 1
    assert started.duration_s == pytest.approx(44.4, abs=0.1)
    assert reading[-1] == SpeechFinished("stop", pytest.approx(44.4, abs=0.1), 0.0)
    assert samples.error_rate(samples.TWO_CITIES, text_of(reading)) < 0.06


def test_segments_and_words_lie_in_order_within_the_recording(reading: list):
    rows = segments_of(reading)
    assert rows[0].start_s > 0.3  # half a second passes before the reader begins
    clock = 0.0
    for row in rows:
        assert clock - 0.05 <= row.start_s < row.end_s <= 44.4
        clock = row.end_s
        assert "".join(word.text for word in row.words) == row.text
        assert all(0 < word.probability <= 1 for word in row.words)
        assert all(row.start_s <= word.start_s <= word.end_s <= row.end_s for word in row.words)
    done = [event.done_s for event in reading if isinstance(event, SpeechProgress)]
    assert done[-1] == pytest.approx(44.4, abs=1.5)


def test_a_batch_hears_the_same_with_thresholds_kept(whisper: SpeechModel, two_cities: Path):
    events = list(whisper.transcribe(two_cities, SpeechOptions(decoding="batched", language="en")))
    assert events[0].decoding == "batched"
    assert samples.error_rate(samples.TWO_CITIES, text_of(events)) < 0.02
    assert len(segments_of(events)) > 5  # not one for each window
    assert all(segment.words for segment in segments_of(events))


def test_words_are_left_out_when_nobody_wants_them(whisper: SpeechModel, two_cities: Path):
    options = SpeechOptions(decoding="batched", language="en", word_timestamps=False)
    segments = segments_of(list(whisper.transcribe(Recording(two_cities, "a", 0, 14), options)))
    assert len(segments) > 1
    assert not any(segment.words for segment in segments)


def test_a_failing_window_of_a_batch_is_decoded_again(whisper: SpeechModel, two_cities: Path):
    options = SpeechOptions(decoding="batched", language="en", word_timestamps=False, log_prob_threshold=-0.0)
    events = list(whisper.transcribe(Recording(two_cities, "a", 0, 6), options))
    assert all(segment.temperature > 0 for segment in segments_of(events))
    assert "best of times" in text_of(events)


@pytest.mark.parametrize(("language", "least"), [("zh", 0.4), ("ja", 0.8), ("fr", 0.25)])
def test_languages_are_detected(whisper: SpeechModel, language: str, least: float):
    path, text = samples.spoken(language)[-1]
    events = list(whisper.transcribe(path, SpeechOptions(word_timestamps=False)))
    assert events[0].language == language
    assert samples.error_rate(text, text_of(events), characters=True) < least


def test_translation_goes_to_english(whisper: SpeechModel):
    path, _ = next(pair for pair in samples.spoken("fr") if pair[0].stem == "bonjour_monde")
    events = list(whisper.transcribe(path, SpeechOptions(task="translate", language="fr")))
    assert {"hello", "world"} & set(text_of(events).lower().replace(",", " ").replace(".", " ").split())


def test_cancelling_keeps_what_is_done(whisper: SpeechModel, two_cities: Path):
    cancel = Cancel()
    events = []
    for event in whisper.transcribe(two_cities, SpeechOptions(word_timestamps=False), cancel):
        events.append(event)
        if isinstance(event, Segment):
            cancel.set()
    assert len(segments_of(events)) >= 1
    assert isinstance(events[-1], SpeechFinished) and events[-1].reason == "cancelled"
    assert samples.error_rate(samples.TWO_CITIES, text_of(events)) > 0.3


def test_an_abandoned_transcription_leaves_the_model_free(whisper: SpeechModel, two_cities: Path):
    stream = whisper.transcribe(two_cities, SpeechOptions())
    next(stream)
    assert whisper.use.active == 1
    stream.close()
    assert whisper.use.active == 0


def test_a_passage_is_heard_alone_and_hot(whisper: SpeechModel, two_cities: Path, reading: list):
    row = next(row for row in segments_of(reading) if "epoch" in row.text)
    options = SpeechOptions().retry(0.4, "en")
    events = list(whisper.transcribe(Recording(two_cities, "a", row.start_s, row.end_s), options))
    found = segments_of(events)
    assert found and all(segment.temperature == pytest.approx(0.4) for segment in found)
    assert all(row.start_s - 0.1 <= segment.start_s < segment.end_s <= row.end_s + 0.1 for segment in found)
    assert "epoch" in text_of(events)


def test_silence_is_said_to_be_silence(whisper: SpeechModel, tmp_path: Path):
    quiet = write_wav(tmp_path / "quiet.wav", np.zeros(20 * SAMPLE_RATE, np.int16))
    with pytest.raises(NoSpeech):
        list(whisper.transcribe(quiet, SpeechOptions()))


def test_text_over_silence_is_marked_or_absent_without_the_filter(whisper: SpeechModel, tmp_path: Path):
    noise = np.random.default_rng(1).normal(0, 200, 8 * SAMPLE_RATE).astype(np.int16)
    path = write_wav(tmp_path / "noise.wav", noise)
    events = list(
        whisper.transcribe(
            path, SpeechOptions(vad_filter=False, language="en", no_speech_threshold=1.0, temperature=0.2)
        )
    )
    assert all("silence" in segment.marks for segment in segments_of(events))


def test_every_export_of_a_real_transcript(reading: list):
    value = Transcription("two_cities.wav", "en", tuple(segments_of(reading)), duration_s=44.4)
    for write, _ in FORMATS.values():
        assert "best of times" in write(value).replace("\n", " ")


def test_files_that_are_no_model_are_refused(whisper_folder: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(whisper_folder, broken)
    (broken / "model.bin").write_bytes(b"not weights" * 100)
    with pytest.raises(CorruptModel):
        load(ENTRY, broken, LoadPlan(device="cpu"), lambda *_: None)
    with pytest.raises(UnsupportedModel):
        load(ENTRY, whisper_folder, LoadPlan(device="cpu", precision="int4"), lambda *_: None)
    shutil.copyfile(whisper_folder / "model.bin", broken / "model.bin")
    settings = json.loads((whisper_folder / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(settings | {"alignment_heads": [[5, 7], [6, 0]]}))
    with pytest.raises(CorruptModel, match="layer 6, head 0"):
        load(ENTRY, broken, LoadPlan(device="cpu"), lambda *_: None)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UnsupportedModel):
        load(ENTRY, other, LoadPlan(), lambda *_: None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, whisper_folder: Path) -> Path:
    """A small Whisper with random weights as transformers saves it, with the real tokenizer."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("openai") / "whisper-small-random"
    torch.manual_seed(3)
    shape = {name: 32 for name in ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")}
    layers = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    model = WhisperForConditionalGeneration(WhisperConfig(**shape, **layers))
    tokenizer = (
        WhisperTokenizer.from_pretrained(str(whisper_folder)) if (whisper_folder / "vocab.json").exists() else None
    )
    languages = json.loads((whisper_folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    codes = {token["content"]: token["id"] for token in languages if 50259 <= token["id"] <= 50357}
    model.generation_config = GenerationConfig(
        decoder_start_token_id=50258,
        eos_token_id=50257,
        pad_token_id=50257,
        no_timestamps_token_id=50363,
        is_multilingual=True,
        lang_to_id=codes,
        task_to_id={"translate": 50358, "transcribe": 50359},
        max_length=40,
        alignment_heads=[[0, 0], [1, 1]],
        prev_sot_token_id=50361,
        no_speech_token_id=50362,
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    else:
        shutil.copyfile(whisper_folder / "tokenizer.json", folder / "tokenizer.json")
        settings = {"tokenizer_class": "WhisperTokenizer", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 1024}))
    return folder


def test_a_transformers_checkpoint_is_converted_once(checkpoint: Path, home: Path, two_cities: Path):
    stages: list[str] = []
    assert (find(checkpoint).engine, find(checkpoint).task) == ("whisper", "automatic-speech-recognition")
    plan = LoadPlan(device="cpu")
    model = SpeechModel(ENTRY, load(ENTRY, checkpoint, plan, lambda stage, *_: stages.append(stage)))
    assert model.runtime == "ctranslate2"
    assert "converted" in model.plan.reason
    assert "converting" in stages
    made = list((home / "models" / "converted").iterdir())
    assert len(made) == 1 and (made[0] / "tokenizer.json").is_file()
    assert len(model.languages) > 90
    options = SpeechOptions(language="en", beam_size=1, temperature=0.5, word_timestamps=False)
    events = list(model.transcribe(Recording(two_cities, "a", 0, 5), options))
    assert isinstance(events[-1], SpeechFinished)
    stages.clear()
    load(ENTRY, checkpoint, plan, lambda stage, *_: stages.append(stage))
    assert "converting" not in stages


def test_what_cannot_be_converted_runs_through_transformers(
    checkpoint: Path, home: Path, two_cities: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(folder: Path, target: Path) -> None:
        raise whisper_convert.CannotConvert("a layer that CTranslate2 doesn't have")

    monkeypatch.setattr(whisper_convert, "_convert", refuse)
    model = SpeechModel(ENTRY, load(ENTRY, checkpoint, LoadPlan(device="cpu"), lambda *_: None))
    assert model.runtime == "transformers"
    assert "a layer that CTranslate2 doesn't have" in model.plan.reason
    assert model.memory().total_bytes > 1e6
    options = SpeechOptions(beam_size=1, word_timestamps=False, temperature=0.5)
    for decoding in ("sequential", "batched"):
        events = list(model.transcribe(Recording(two_cities, "a", 0, 4), options.with_values({"decoding": decoding})))
        assert events[0].language in model.languages
        assert isinstance(events[-1], SpeechFinished)
    assert not list((home / "models" / "converted").glob("converting-*"))
