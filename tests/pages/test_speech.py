"""The Speech page as a script: what it shows, what its widgets reach, what is kept."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.toml_file import write_entries
from llm.chat.recordings import KIND
from llm.jobs import JobRecord, jobs
from llm.runtime import handles
from llm.speech.options import CONTROLS, SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription, Word
from llm.speech.transcriber import Recording
from llm.store import store

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "speech.py")


class Recorder:
    """A speech model that notes how it is asked and always says the same."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.runtime = "ctranslate2"
        self.asked: list[tuple[Recording, SpeechOptions]] = []

    def transcribe(self, audio: Recording, options: SpeechOptions, cancel: Cancel) -> Iterator[Any]:
        from llm.speech.audio import probe

        probe(audio.source, audio.name)
        self.asked.append((audio, options))
        yield SpeechStarted(options.language or "en", 0.93, 2.0, "sequential", "short")
        start_s = audio.start_s
        words = (Word("Good", start_s, start_s + 0.4, 0.9), Word(" morning", start_s + 0.4, start_s + 0.9, 0.3))
        yield Segment("Good morning", start_s, start_s + 0.9, words)
        yield SpeechProgress(start_s + 0.9, 2.0)
        yield SpeechFinished("stop", 2.0)


@pytest.fixture
def recorder(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A model that is there, and what opens it."""
    folder = data_folder / "mine"
    folder.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        (folder / name).write_text("{}")
    entry = ModelEntry("mine", "Mine", "automatic-speech-recognition", "whisper", "whisper", path=folder)
    write_entries(data_folder / "models.toml", [entry])
    model = Recorder(entry)
    monkeypatch.setattr(handles, "load", lambda *_: model)
    return model


def page(language: str = "en", **session: Any) -> AppTest:
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.session_state["app.language"] = language
    app.session_state["speech.model"] = "mine"
    for key, value in session.items():
        app.session_state[f"speech.{key}"] = value
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception, [error.message for error in app.exception]
    return app


def wav(seconds: float = 2.0) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(int(seconds * 16_000)) / 20) * 9000).astype(np.int16).tobytes())
    return data.getvalue()


def transcribe(app: AppTest, *files: tuple[str, bytes, str]) -> AppTest:
    """Uploads, presses the button and waits until nothing runs any more."""
    app.file_uploader(key="speech_files").set_value(list(files)).run()
    checked(app.button(key="speech_start").click().run())
    deadline = time.monotonic() + 20
    while any(job.active for job in running()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return checked(app.run())


def running() -> list[JobRecord]:
    return jobs().all(kind=KIND)


def test_what_failed_stays_for_another_try_until_it_is_dropped(recorder: Recorder):
    transcribe(page(), ("a.wav", wav(), "audio/wav"), ("notes.mp3", b"just words " * 50, "audio/mpeg"))
    app = page()  # a reload, a new session, a restart: the file is still there
    checked(app.button(key="speech_new").click().run())
    assert "notes.mp3" in app.error[0].value
    (drop,) = (button for button in app.button if (button.key or "").startswith("speech_held_"))
    assert not app.button(key="speech_start").disabled
    checked(drop.click().run())
    assert not app.error and jobs().all(kind=KIND) == []
    assert titles() == ["a.wav"]


def titles() -> list[str]:
    return [item.title for item in store().transcripts.list().items]


@pytest.mark.parametrize(("language", "heading"), [("en", "Speech to text"), ("zh", "语音转文字")])
def test_the_page_opens_on_an_empty_machine_in_both_languages(data_folder: Path, language: str, heading: str):
    app = page(language)
    assert app.title[0].value == heading
    assert app.button(key="speech_start").disabled
    assert any("get_" in (button.key or "") for button in app.button)  # the starter can be fetched from here


def test_two_files_become_two_kept_transcripts(recorder: Recorder):
    app = transcribe(page(), ("a.wav", wav(), "audio/wav"), ("b.wav", wav(1), "audio/wav"))
    assert sorted(titles()) == ["a.wav", "b.wav"]
    assert app.subheader[0].value == "b.wav"
    assert "English (93% sure)" in " ".join(caption.value for caption in app.caption)
    assert "Sequential decoding: the recording is short" in " ".join(caption.value for caption in app.caption)
    item = store().transcripts.list().items[0]
    assert item.audio_type == "audio/wav"
    assert store().attachments.read(item.audio_sha256 or "") == wav(1)


def test_a_bad_file_gives_a_sentence_and_leaves_nothing(recorder: Recorder):
    app = transcribe(page("zh"), ("notes.mp3", b"just words " * 50, "audio/mpeg"))
    assert "不是这里能读的音频或视频文件" in app.error[0].value
    assert titles() == []
    assert not [file for file in recorder.entry.path.parent.glob("attachments/**/*") if file.is_file()]
    app = transcribe(page(), ("empty.wav", b"", "audio/wav"))
    assert "is empty" in app.error[0].value


CHANGED: dict[str, Any] = {
    "task": "translate",
    "vad_filter": False,
    "word_timestamps": False,
    "beam_size": 3,
    "initial_prompt": "Hello.",
    "hotwords": "Hearth",
    "decoding": "batched",
    "condition_on_previous_text": True,
    "temperature": 0.3,
    "no_speech_threshold": 0.5,
    "log_prob_threshold": -2.0,
    "compression_ratio_threshold": 3.0,
    "hallucination_silence_threshold": 1.5,
    "repetition_penalty": 1.1,
}


def test_every_widget_reaches_the_model(recorder: Recorder):
    assert (
        {control.name for control in CONTROLS} == set(CHANGED) == {f.name for f in fields(SpeechOptions)} - {"language"}
    )
    app = page()
    app.selectbox(key="speech_option_language").set_value("zh")
    for name, value in CHANGED.items():
        key = f"speech_option_{name}"
        kind = (
            app.toggle
            if isinstance(value, bool)
            else app.text_input
            if name in ("initial_prompt", "hotwords")
            else None
        )
        kind = kind or (app.selectbox if isinstance(value, str) else app.slider)
        kind(key=key).set_value(value)
    checked(app.run())
    transcribe(app, ("a.wav", wav(), "audio/wav"))
    assert recorder.asked[0][1] == SpeechOptions(language="zh", **CHANGED)


def kept_example() -> str:
    segments = (Segment("First part", 0, 1), Segment("second part", 1, 2, marks=("repeat",)))
    value = Transcription("talk.wav", "en", segments, duration_s=2, options=SpeechOptions().to_dict())
    sha256 = store().attachments.put(wav())
    return store().transcripts.create("talk.wav", value.to_dict(), audio_sha256=sha256, audio_type="audio/wav").id


def test_a_transcript_is_reopened_renamed_deleted_and_brought_back(recorder: Recorder):
    kept = kept_example()
    app = page()
    checked(app.button(key=f"speech_open_{kept}").click().run())
    assert app.subheader[0].value == "talk.wav"
    assert "1 passages are marked" in app.warning[0].value
    checked(app.text_input(key=f"speech_title_{kept}").set_value("Interview").run())
    assert titles() == ["Interview"]
    checked(app.button(key="speech_delete").click().run())
    assert titles() == [] and app.button(key="speech_start")
    checked(app.button(key="speech_restore").click().run())
    assert titles() == ["Interview"] and app.subheader[0].value == "Interview"


def test_search_finds_what_was_said(recorder: Recorder):
    kept_example()
    app = page()
    checked(app.text_input(key="speech_search").set_value("second").run())
    assert any((button.key or "").startswith("speech_open_") for button in app.button)
    checked(app.text_input(key="speech_search").set_value("nowhere said").run())
    assert not any((button.key or "").startswith("speech_open_") for button in app.button)


def test_send_to_chat_attaches_the_text(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    went: list[str] = []
    monkeypatch.setattr(st, "switch_page", went.append)
    app = page(transcript=kept_example())
    checked(app.button(key="speech_to_chat").click().run())
    assert went == ["pages/chat.py"]
    (part,) = app.session_state["chat.attachments"]
    assert (part.name, part.text) == ("talk.txt", "First part\nsecond part\n")


def _edit_page() -> None:
    """A page that does what `test.action` says to the transcript and shows it."""
    import streamlit as st

    from ui.speech.editor import act
    from ui.speech.state import current_transcript, undo

    item, transcription = current_transcript()
    action = st.session_state.pop("test.action", None)
    if action == "undo":
        undo(item.id)
    elif action:
        act(item, transcription, action, lambda *passage: st.session_state.update({"test.retry": passage}))
    st.text("|".join(segment.text for segment in current_transcript()[1].segments))


def test_what_the_editor_asks_for_is_done_and_undone(data_folder: Path):
    app = AppTest.from_function(_edit_page)
    app.session_state["speech.transcript"] = kept_example()

    def do(action: Any) -> str:
        app.session_state["test.action"] = action
        return checked(app.run()).text[0].value

    assert (
        do({"kind": "edit", "first": 0, "last": 0, "text": "My part", "start": 0, "end": 0.8}) == "My part|second part"
    )
    assert do({"kind": "merge", "first": 0, "last": 1}) == "My part second part"
    assert (
        do({"kind": "split", "first": 0, "last": 0, "text": "My part second part", "offset": 3})
        == "My|part second part"
    )
    assert do({"kind": "delete", "first": 0, "last": 0}) == "part second part"
    assert do({"kind": "edit", "first": 7, "last": 7, "text": "x", "start": 0, "end": 1}) == "part second part"
    assert do({"kind": "edit", "first": 0, "last": 0, "text": " ", "start": 0, "end": 1}) == ""
    for expected in ("part second part", "My|part second part", "My part second part"):
        assert do("undo") == expected
    do({"kind": "retry", "first": 0, "last": 0})
    assert app.session_state["test.retry"] == (0, 2)


def test_another_try_takes_the_place_of_the_passage(recorder: Recorder):
    kept = kept_example()
    app = page(transcript=kept)
    from ui.speech.state import start_again

    def again() -> None:
        item = store().transcripts.get(kept)
        before = Transcription.of(item.payload)
        start_again(item, before, (1.0, 2.0), SpeechOptions().retry(0.6, "en"), recorder.entry)

    again()
    deadline = time.monotonic() + 20
    while any(job.active for job in running()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    value = Transcription.of(store().transcripts.get(kept).payload)
    assert [segment.text for segment in value.segments] == ["First part", "Good morning"]
    options = recorder.asked[0][1]
    assert (options.temperature, options.vad_filter, options.condition_on_previous_text) == (0.6, False, False)
    checked(app.run())
