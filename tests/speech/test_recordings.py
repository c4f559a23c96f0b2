"""Recordings on their way to text: what a page can read of it, and what is kept when it ends early."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.chat import recordings
from llm.chat.recordings import FileState, files_of, growing, held
from llm.errors import NotAudio, OutOfMemory
from llm.jobs import JobRecord, jobs, registry
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription
from llm.speech.transcriber import Recording
from llm.store import store
from llm.store.transcripts import Transcripts
from tests.pages.test_speech import wav


@dataclass
class Scripted:
    """A model that says what it is told to, a segment a step; an exception among them is raised."""

    script: list[Any]
    step: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(10**6))
    entry: ModelEntry = field(
        default_factory=lambda: ModelEntry("scripted", "Scripted", "automatic-speech-recognition", "whisper", "whisper")
    )
    runtime: str = "ctranslate2"

    def before(self, audio: Recording, options: SpeechOptions) -> None:
        """What a test does when a recording comes."""

    def transcribe(self, audio: Recording, options: SpeechOptions, cancel: Cancel) -> Iterator[Any]:
        self.before(audio, options)
        yield SpeechStarted("en", 0.9, 100.0, "batched", "long")
        for number, item in enumerate(self.script):
            self.step.acquire()
            if cancel.is_set():
                yield SpeechFinished("cancelled", number * 10.0)
                return
            if isinstance(item, Exception):
                raise item
            yield Segment(item, number * 10.0, number * 10.0 + 9)
            yield SpeechProgress(number * 10.0 + 9, 100.0)
        yield SpeechFinished("stop", 100.0, missing_s=5.0)


def transcripts() -> list[Transcription]:
    kept = store("me").transcripts
    found = (Transcription.of(kept.get(item.id).payload) for item in kept.list().items)
    return sorted(found, key=lambda transcription: transcription.name)


@pytest.fixture
def begin(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobRecord]:
    """Starts a job over a scripted model; whatever still runs is ended with the test."""
    monkeypatch.setattr(recordings, "find", lambda model: model)
    monkeypatch.setattr(recordings, "_TOLD_EVERY_S", 0.0)
    begun: list[JobRecord] = []

    def made(model: Any, *names: str) -> JobRecord:
        monkeypatch.setattr(recordings.handles, "transcriber", lambda *_: model)
        files = [Recording(io.BytesIO(wav()), name) for name in names]
        begun.append(recordings.start(files, SpeechOptions(beam_size=2), "scripted", "me"))
        return begun[-1]

    yield made
    for job in begun:
        jobs().cancel(job.id)


def now(job: JobRecord) -> JobRecord:
    found = jobs().get(job.id, "me")
    assert found
    return found


def files(job: JobRecord) -> list[FileState]:
    return files_of(now(job))


def ended(job: JobRecord) -> JobRecord:
    found = jobs().wait(job.id, 20)
    assert found and not found.active
    return found


def wait(condition: Any, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_several_files_become_several_transcripts(begin):
    job = ended(begin(Scripted(["one", "two"]), "a.wav", "b.wav"))
    assert [file.state for file in files_of(job)] == ["done", "done"] and job.state == "done"
    kept = transcripts()
    assert [(k.name, k.text, k.complete, k.missing_s) for k in kept] == [
        ("a.wav", "one\ntwo", True, 5.0),
        ("b.wav", "one\ntwo", True, 5.0),
    ]
    assert kept[0].options["beam_size"] == 2
    assert (kept[0].model, kept[0].runtime, kept[0].decoding) == ("scripted", "ctranslate2", "batched")
    sound = store("me").transcripts.list().items[0].audio_sha256
    assert store("me").attachments.read(sound or "") == wav()


def test_progress_can_be_read_while_it_works(begin):
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(2))
    job = begin(model, "a")
    wait(lambda: now(job).done == 19.0)
    file = files(job)[0]
    assert (file.state, [segment["text"] for segment in file.segments]) == ("running", ["one", "two"])
    assert file.speed > 0 and file.remaining_s > 0
    assert (now(job).done, now(job).total, now(job).unit) == (19.0, 100.0, "seconds")
    assert jobs().get(job.id, "you") is None
    model.step.release(5)
    ended(job)


def test_what_there_is_so_far_is_kept_as_one_transcript(begin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recordings, "KEPT_EVERY_S", 0.0)
    full = iter([OSError("the disk is full")])
    put = Transcripts.create

    def create(*args: Any, **values: Any) -> Any:
        for error in full:
            raise error
        return put(*args, **values)

    monkeypatch.setattr(Transcripts, "create", create)
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(2))
    job = begin(model, "a")
    wait(lambda: growing("me") - {""})
    assert growing("you") == set()
    (draft,) = transcripts()
    assert draft.text == "one\ntwo" and not draft.complete
    model.step.release(5)
    ended(job)
    (whole,) = transcripts()
    assert whole.text == "one\ntwo\nthree" and whole.complete and growing("me") == set()


KILLED = """
import sys, threading
from llm.chat import recordings
from llm.speech.options import SpeechOptions
from llm.speech.transcriber import Recording
from tests.speech.test_recordings import Scripted
recordings.KEPT_EVERY_S = 0.0
recordings.find = lambda model: model
recordings.handles.transcriber = lambda *_: Scripted(["one", "two", "never"], step=threading.Semaphore(2))
job = recordings.start([Recording(sys.argv[1], "long.wav")], SpeechOptions(), "scripted", "me")
print(job.id, flush=True)
threading.Event().wait()
"""


def test_a_killed_process_loses_little_and_the_next_goes_on_after_the_last_segment(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sound = data_folder / "sound.wav"
    sound.write_bytes(wav())
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(sound)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    job_id = process.stdout.readline().strip()
    wait(lambda: growing("me") - {""} and transcripts()[0].text == "one\ntwo", 60)
    process.kill()
    process.communicate()
    sound.unlink()
    model = Scripted(["three"])
    asked: list[Recording] = []
    monkeypatch.setattr(recordings, "find", lambda model: model)
    monkeypatch.setattr(recordings.handles, "transcriber", lambda *_: model)
    monkeypatch.setattr(
        Scripted, "before", lambda self, audio, options: asked.append((audio.start_s, options.language))
    )
    monkeypatch.setattr(registry, "_SILENT_S", 0.0)
    wait(lambda: jobs().get(job_id, "me").state == "done")
    assert asked == [(19.0, "en")]
    (whole,) = transcripts()
    assert whole.text == "one\ntwo\nthree" and whole.complete


def test_cancel_keeps_what_is_done_and_skips_the_rest(begin):
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(1))
    job = begin(model, "a", "b")
    wait(lambda: files(job)[0].segments)
    jobs().cancel(job.id)
    model.step.release(5)
    assert [file.state for file in files_of(ended(job))] == ["cancelled", "cancelled"]
    assert [(k.text, k.complete) for k in transcripts()] == [("one", False)]
    assert [kept.recording.name for kept in held("me")] == ["b"]


def test_a_cancel_before_any_text_keeps_nothing_but_the_recording(begin):
    model = Scripted(["one"], step=threading.Semaphore(0))
    job = begin(model, "a")
    wait(lambda: files(job)[0].decoding)
    jobs().cancel(job.id)
    model.step.release()
    assert files_of(ended(job))[0].state == "cancelled" and transcripts() == []
    (kept,) = held("me")
    assert Path(kept.recording.source).read_bytes() == wav() and held("you") == []
    recordings.drop(kept.job_id, kept.place, "you")
    assert held("me")
    recordings.drop(kept.job_id, kept.place, "me")
    assert held("me") == [] and jobs().all("me") == []


def test_a_bad_file_ends_alone_and_is_tried_again(begin):
    class Picky(Scripted):
        def before(self, audio: Recording, options: SpeechOptions) -> None:
            if audio.name == "bad":
                raise NotAudio(name="bad", detail="text")

    job = ended(begin(Picky(["one"]), "bad", "good"))
    assert [file.state for file in files_of(job)] == ["failed", "done"]
    assert files_of(job)[0].error_code == NotAudio.code
    assert [k.name for k in transcripts()] == ["good"]
    again = [kept.recording for kept in held("me")]
    second = ended(recordings.start(again, SpeechOptions(), "scripted", "me"))
    assert files_of(second)[0].name == "bad" and len(held("me")) == 1 and jobs().get(job.id, "me") is None


def test_what_was_written_before_a_failure_is_kept(begin):
    job = ended(begin(Scripted(["one", OutOfMemory(model="m", detail="d")]), "a"))
    (kept,) = transcripts()
    assert (files_of(job)[0].state, kept.text, kept.complete) == ("failed", "one", False)
    assert files_of(job)[0].error_code == OutOfMemory.code and held("me") == []
    recordings.forget_ended("me")
    assert jobs().all("me") == []


def test_a_bug_ends_in_a_sentence(begin):
    job = ended(begin(Scripted([ZeroDivisionError("x")]), "a"))
    assert transcripts() == [] and files_of(job)[0].error_code == "model_error"


def test_only_so_many_run_at_once(begin):
    model = Scripted(["one"], step=threading.Semaphore(0))
    started = [begin(model, f"{number}") for number in range(4)]
    wait(lambda: sum(files(job)[0].state == "running" for job in started) == 2)
    time.sleep(0.1)
    assert sum(now(job).state == "queued" for job in started) == 2
    model.step.release(10)
    for job in started:
        ended(job)
