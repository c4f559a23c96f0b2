"""Work in the background: what a page can read of it, and what is kept when it ends early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.errors import NotAudio, OutOfMemory
from llm.speech.jobs import Job, Jobs
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription
from llm.speech.transcriber import Recording


@dataclass
class Scripted:
    """A model that says what it is told to, a segment a step; an exception among them is raised."""

    script: list[Any]
    step: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(10**6))
    entry: ModelEntry = field(
        default_factory=lambda: ModelEntry("scripted", "Scripted", "automatic-speech-recognition", "whisper", "whisper")
    )
    runtime: str = "ctranslate2"

    def transcribe(self, audio: Recording, options: SpeechOptions, cancel: Cancel) -> Iterator[Any]:
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


def run(model: Any, *names: str) -> tuple[Job, list[Transcription]]:
    kept: list[Transcription] = []

    def keep(result: Transcription, recording: Recording, _: str) -> str:
        kept.append(result)
        return f"id-{recording.name}"

    job = Jobs().start([Recording(name, name) for name in names], SpeechOptions(beam_size=2), "me", lambda: model, keep)
    wait(lambda: not job.active)
    return job, kept


def wait(condition: Any, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_several_files_become_several_transcripts():
    job, kept = run(Scripted(["one", "two"]), "a.wav", "b.wav")
    assert [file.state for file in job.files] == ["done", "done"]
    assert [file.transcript_id for file in job.files] == ["id-a.wav", "id-b.wav"]
    assert [(k.name, k.text, k.complete, k.missing_s) for k in kept] == [
        ("a.wav", "one\ntwo", True, 5.0),
        ("b.wav", "one\ntwo", True, 5.0),
    ]
    assert kept[0].options["beam_size"] == 2
    assert (kept[0].model, kept[0].runtime, kept[0].decoding) == ("scripted", "ctranslate2", "batched")


def test_progress_can_be_read_while_it_works():
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(2))
    jobs = Jobs()
    job = jobs.start([Recording("a", "a")], SpeechOptions(), "me", lambda: model, lambda *_: "id")
    wait(lambda: job.files[0].done_s == 19.0)
    file = job.files[0]
    assert (file.state, [segment.text for segment in file.segments]) == ("running", ["one", "two"])
    assert file.speed > 0 and file.remaining_s > 0
    assert jobs.get(job.id, "me") is job and jobs.get(job.id, "you") is None
    model.step.release(5)
    wait(lambda: not job.active)
    assert jobs.get(job.id, "me") is job  # until its end was seen
    job.seen = True
    assert jobs.get(job.id, "me") is None


def test_what_there_is_so_far_is_kept_as_one_transcript(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llm.speech.jobs.KEPT_EVERY_S", 0.0)
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(2))
    kept: list[tuple[str, bool, str]] = []

    def keep(result: Transcription, recording: Recording, before: str) -> str:
        kept.append((result.text, result.complete, before))
        if len(kept) == 1:
            raise OSError("the disk is full")
        return before or "id"

    jobs = Jobs()
    job = jobs.start([Recording("a", "a")], SpeechOptions(), "me", lambda: model, keep)
    wait(lambda: len(kept) == 2 and jobs.drafts("me"))
    assert jobs.drafts("me") == {"id"} and jobs.drafts("you") == set()
    model.step.release(5)
    wait(lambda: not job.active)
    assert kept == [
        ("one", False, ""),
        ("one\ntwo", False, ""),
        ("one\ntwo\nthree", False, "id"),
        ("one\ntwo\nthree", True, "id"),
    ]
    assert job.files[0].state == "done" and jobs.drafts("me") == set()


def test_cancel_keeps_what_is_done_and_skips_the_rest():
    model = Scripted(["one", "two", "three"], step=threading.Semaphore(1))
    kept: list[Transcription] = []
    files = [Recording("a", "a"), Recording("b", "b")]
    job = Jobs().start(files, SpeechOptions(), "me", lambda: model, lambda result, *_: kept.append(result) or "id")
    wait(lambda: job.files[0].segments)
    job.cancel()
    assert job.cancelling
    model.step.release(5)
    wait(lambda: not job.active)
    assert [file.state for file in job.files] == ["cancelled", "cancelled"]
    assert [(k.text, k.complete) for k in kept] == [("one", False)]


def test_a_cancel_before_any_text_keeps_nothing():
    model = Scripted(["one"], step=threading.Semaphore(0))
    kept: list[Any] = []
    job = Jobs().start([Recording("a", "a")], SpeechOptions(), "me", lambda: model, lambda *a: kept.append(a) or "id")
    wait(lambda: job.files[0].started)
    job.cancel()
    model.step.release()
    wait(lambda: not job.active)
    assert kept == [] and job.files[0].state == "cancelled"


def test_a_bad_file_ends_alone_and_leaves_nothing():
    class Picky(Scripted):
        def transcribe(self, audio: Recording, options: SpeechOptions, cancel: Cancel) -> Iterator[Any]:
            if audio.name == "bad":
                raise NotAudio(name="bad", detail="text")
            return super().transcribe(audio, options, cancel)

    job, kept = run(Picky(["one"]), "bad", "good")
    assert [file.state for file in job.files] == ["failed", "done"]
    assert isinstance(job.files[0].error, NotAudio)
    assert [k.name for k in kept] == ["good"]


def test_what_was_written_before_a_failure_is_kept():
    job, kept = run(Scripted(["one", OutOfMemory(model="m", detail="d")]), "a")
    assert (job.files[0].state, kept[0].text, kept[0].complete) == ("failed", "one", False)
    assert isinstance(job.files[0].error, OutOfMemory)


def test_a_bug_ends_in_a_sentence():
    job, kept = run(Scripted([ZeroDivisionError("x")]), "a")
    assert kept == []
    assert job.files[0].error is not None and job.files[0].error.code == "model_error"


def test_only_so_many_run_at_once():
    model = Scripted(["one"], step=threading.Semaphore(0))
    jobs = Jobs()
    started = [
        jobs.start([Recording("a", "a")], SpeechOptions(), str(n), lambda: model, lambda *_: "id") for n in range(4)
    ]
    wait(lambda: sum(job.files[0].state == "running" for job in started) == 2)
    time.sleep(0.1)
    assert sum(job.files[0].state == "waiting" for job in started) == 2
    model.step.release(10)
    wait(lambda: not any(job.active for job in started))
