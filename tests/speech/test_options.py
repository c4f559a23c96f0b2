"""Every option that can be turned reaches the engine, in both ways of decoding."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from llm.runtime.speech_model import SpeechModel
from llm.speech.options import CONTROLS, SpeechOptions, choose_decoding
from llm.speech.transcriber import Recording

CHANGED: dict[str, Any] = {
    "language": "fr",
    "task": "translate",
    "vad_filter": False,
    "word_timestamps": False,
    "beam_size": 2,
    "initial_prompt": "Charles Dickens",
    "hotwords": "Jarvis Lorry",
    "decoding": "batched",
    "condition_on_previous_text": True,
    "temperature": 0.4,
    "no_speech_threshold": 0.3,
    "log_prob_threshold": -0.5,
    "compression_ratio_threshold": 2.0,
    "hallucination_silence_threshold": 2.0,
    "repetition_penalty": 1.2,
}
BATCH_KNOWS_NOT = {"no_speech_threshold", "log_prob_threshold", "compression_ratio_threshold", "word_timestamps"}
"""What is done after a batch: thresholds are looked at, and words, whose times make the sentences, are left out."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What faster-whisper is called with; it hears nothing."""
    import faster_whisper

    seen: list[tuple[str, dict[str, Any]]] = []

    def recorder(name: str) -> Any:
        def transcribe(self: Any, audio: Any, **kwargs: Any) -> Any:
            seen.append((name, {"samples": len(audio), **kwargs}))
            return iter(()), None

        return transcribe

    monkeypatch.setattr(faster_whisper.WhisperModel, "transcribe", recorder("alone"))
    monkeypatch.setattr(faster_whisper.BatchedInferencePipeline, "transcribe", recorder("together"))
    return seen


def heard_with(whisper: SpeechModel, path: Path, calls: list, options: SpeechOptions) -> tuple[str, dict[str, Any]]:
    calls.clear()
    list(whisper.transcribe(Recording(path, "a", 0.0, 20.0), options))
    return calls[0]


def test_the_walk_covers_every_field():
    assert set(CHANGED) == {f.name for f in fields(SpeechOptions)}
    assert {control.name for control in CONTROLS} | {"language"} == set(CHANGED)


@pytest.mark.parametrize("name", CHANGED)
def test_every_option_reaches_the_engine(whisper: SpeechModel, two_cities: Path, calls: list, name: str):
    plain = SpeechOptions(language="en", decoding="sequential")
    before = heard_with(whisper, two_cities, calls, plain)
    after = heard_with(whisper, two_cities, calls, replace(plain, **{name: CHANGED[name]}))
    assert before != after
    if name in after[1] and name != "initial_prompt":
        given = after[1][name]
        assert (given[0] if isinstance(given, list) else given) == CHANGED[name]


@pytest.mark.parametrize("name", sorted(set(CHANGED) - BATCH_KNOWS_NOT - {"decoding"}))
def test_every_option_reaches_a_batch_or_ends_it(whisper: SpeechModel, two_cities: Path, calls: list, name: str):
    plain = SpeechOptions(language="en", decoding="batched")
    before = heard_with(whisper, two_cities, calls, plain)
    after = heard_with(whisper, two_cities, calls, replace(plain, **{name: CHANGED[name]}))
    assert before[0] == "together"
    assert before != after


def test_defaults_are_careful(whisper: SpeechModel, two_cities: Path, calls: list):
    _, given = heard_with(whisper, two_cities, calls, SpeechOptions(language="en"))
    assert given["condition_on_previous_text"] is False
    assert given["temperature"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert given["vad_filter"] is False  # the voice activity filter has been at work before


@pytest.mark.parametrize(
    ("values", "duration_s", "expected"),
    [
        ({}, 29, ("sequential", "short")),
        ({}, 600, ("batched", "long")),
        ({}, None, ("batched", "unknown_length")),
        ({"decoding": "sequential"}, 600, ("sequential", "chosen")),
        ({"decoding": "batched"}, 5, ("batched", "chosen")),
        ({"decoding": "batched", "condition_on_previous_text": True}, 600, ("sequential", "context")),
        ({"hallucination_silence_threshold": 2.0}, 600, ("sequential", "silence")),
    ],
)
def test_decoding_is_chosen_by_length_with_a_reason(values, duration_s, expected):
    assert choose_decoding(SpeechOptions(**values), duration_s) == expected


@pytest.mark.parametrize("values", [{"beam_size": 0}, {"task": "sing"}, {"temperature": 2.0}, {"beam_size": True}])
def test_impossible_values_are_refused(values):
    with pytest.raises(ValueError):
        SpeechOptions(**values)
