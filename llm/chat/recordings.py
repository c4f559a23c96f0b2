"""Recordings become transcripts, as a job: nobody's page waits, a reload loses nothing, a killed process goes on.

Of a long file what there is so far is kept now and then as its transcript, so that a kill loses little: the next
process goes on after the last segment. A transcript and its sound are kept together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from llm.catalogue.lookup import find
from llm.errors import ModelError, NotFound
from llm.jobs import Job, JobRecord, error_fields, jobs
from llm.runtime import handles
from llm.runtime.protocols import Transcriber
from llm.speech.audio import own_view
from llm.speech.editing import replaced
from llm.speech.marks import marked
from llm.speech.options import SpeechOptions
from llm.speech.playable import playable
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription
from llm.speech.transcriber import Recording
from llm.store import Store, Transcript, store

KIND = "speech.transcribe"
KEPT_EVERY_S = 15.0
"""How much work a killed process may lose."""
_TOLD_EVERY_S = 0.4
_SHOWN = 60
"""The newest segments that the record tells; all are in the transcript."""
_log = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "loading", "running", "saving", "done", "cancelled", "failed"]
ENDED: frozenset[State] = frozenset({"done", "cancelled", "failed"})


@dataclass
class FileState:
    """One file of a job as far as it is. Times are seconds; `speed` is seconds of sound per second, 0 while unknown.

    input: its place among the job's inputs; None where the sound is the attachment `sha256`. start_s, end_s: the
    passage that is wanted. decoding, why: see `SpeechStarted`; empty before it. segments: the newest, as
    `Segment.to_dict`. error_*: see `JobRecord`.
    """

    name: str
    input: int | None = None
    sha256: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    state: State = "waiting"
    transcript_id: str = ""
    language: str = ""
    language_probability: float = 0.0
    decoding: str = ""
    why: str = ""
    segments: list[dict[str, Any]] = field(default_factory=list)
    done_s: float = 0.0
    total_s: float | None = None
    speed: float = 0.0
    error_code: str = ""
    error_values: dict[str, Any] = field(default_factory=dict)
    error_text: str = ""

    @property
    def remaining_s(self) -> float | None:
        """Seconds of work that are left at this speed; None: unknown."""
        if self.total_s is None or not self.speed:
            return None
        return max(self.total_s - self.done_s, 0.0) / self.speed


@dataclass(frozen=True, slots=True)
class Held:
    """A recording that was not transcribed and is kept for another try; `place` is its file's in the job."""

    job_id: str
    place: int
    recording: Recording


def start(recordings: Sequence[Recording], options: SpeechOptions, model: str, owner: str) -> JobRecord:
    """Begins to transcribe; each file becomes a transcript of the owner's. What was held is not held any more."""
    sources = [r.source if isinstance(r.source, str | Path) else own_view(r.source) for r in recordings]
    inputs = [(r.name, source) for r, source in zip(recordings, sources, strict=True)]
    files = [FileState(r.name, place, "", r.start_s, r.end_s) for place, r in enumerate(recordings)]
    earlier = [job for job in jobs().all(owner, KIND) if not job.active]
    begun = jobs().start(KIND, ", ".join(r.name for r in recordings), _params(files, options, model), owner, inputs)
    for job in earlier:
        jobs().remove(job.id)
    return begun


def start_again(
    item: Transcript, passage: tuple[float, float], options: SpeechOptions, model: str, owner: str
) -> JobRecord:
    """Begins to transcribe one passage again, in seconds; it takes the place of what stood there."""
    file = FileState(item.title, None, item.audio_sha256 or "", *passage, transcript_id=item.id)
    return jobs().start(KIND, item.title, {**_params([file], options, model), "passage": True}, owner)


def _params(files: Sequence[FileState], options: SpeechOptions, model: str) -> dict[str, Any]:
    return {"model": model, "options": options.to_dict(), "files": [asdict(file) for file in files]}


def files_of(job: JobRecord) -> list[FileState]:
    """The job's files as they are now."""
    return [FileState(**values) for values in job.result.get("files") or job.params["files"]]


def growing(owner: str) -> set[str]:
    """Ids of the transcripts that grow now, which nobody should change meanwhile."""
    active = [job for job in jobs().all(owner, KIND) if job.active]
    return {file.transcript_id for job in active for file in files_of(job) if file.state not in ENDED}


def held(owner: str) -> list[Held]:
    """What ended jobs did not transcribe, the newest first; it lies in their folders until it is dropped."""
    found = []
    for job in jobs().all(owner, KIND):
        for place, file in enumerate(files_of(job) if not job.active else []):
            if file.input is not None and not file.transcript_id and place not in job.result.get("dropped", ()):
                path = jobs().folder_of(job.id) / "inputs" / str(file.input)
                found.append(Held(job.id, place, Recording(path, file.name, file.start_s, file.end_s)))
    return found


def drop(job_id: str, place: int, owner: str) -> None:
    """A held recording is no longer wanted."""
    if job := jobs().get(job_id, owner):
        jobs().note(job_id, dropped=[*job.result.get("dropped", ()), place])
        if not any(kept.job_id == job_id for kept in held(owner)):
            jobs().remove(job_id)


def forget_ended(owner: str) -> None:
    """Removes the ended jobs that hold nothing any more."""
    holding = {kept.job_id for kept in held(owner)}
    for job in jobs().all(owner, KIND):
        if not job.active and job.id not in holding:
            jobs().remove(job.id)


def run(job: Job) -> dict[str, Any]:
    """The work of the kind `speech.transcribe`: the files one after the other; an error ends one file, not the job."""
    work = _Work(job)
    for place, file in enumerate(work.files):
        if file.state not in ENDED:
            work.one(place)
    return {"files": [asdict(file) for file in work.files]}


class _Work:
    """A job's files on their way to text."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.options = SpeechOptions().with_values(job.params["options"])
        self.files = [FileState(**values) for values in job.result.get("files") or job.params["files"]]
        self._told_at = 0.0

    def one(self, place: int) -> None:
        file = self.files[place]
        if self.job.cancel.is_set():
            file.state = "cancelled"
            return
        try:
            self._transcribe(file)
        except ModelError as error:
            file.state = "failed"
            self._note(file, error)
        except Exception as error:  # a bug must end in a sentence, not in a page that waits for ever
            _log.exception("Transcribing %s failed", file.name)
            file.state = "failed"
            self._note(file, ModelError(detail=f"{type(error).__name__}: {error}"))
        self.tell(now=True)

    @staticmethod
    def _note(file: FileState, error: ModelError) -> None:
        for name, value in error_fields(error).items():
            setattr(file, name, value)

    def _transcribe(self, file: FileState) -> None:
        file.state = "loading"
        self.tell(now=True)
        model = handles.transcriber(find(self.job.params["model"]))
        result = _Growing(self, file, model)
        failure: Exception | None = None
        file.state = "running"
        try:
            result.take_all()
        except Exception as error:
            if not result.segments:
                raise
            failure = error  # what was understood before it is worth keeping
        if result.segments or (file.decoding and not self.job.cancel.is_set()):
            file.state = "saving"
            self.tell(now=True)
            result.keep()
        if failure is not None:
            raise failure
        file.state = "cancelled" if self.job.cancel.is_set() else "done"

    def source(self, file: FileState) -> Recording:
        if file.input is None:
            path = store(self.job.owner).attachments.path(file.sha256)
        else:
            path = self.job.inputs[file.input][1]
        return Recording(path, file.name, file.start_s, file.end_s)

    def tell(self, now: bool = False) -> None:
        """Lets pages see how far it is, a few times a second."""
        if now or time.monotonic() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = time.monotonic()
            self.job.keep(files=[asdict(file) for file in self.files])
            known = [file for file in self.files if file.total_s]
            total = sum(file.total_s or 0.0 for file in known) if len(known) == len(self.files) else 0.0
            self.job.progress(sum(file.done_s for file in self.files), total, "seconds")


class _Growing:
    """A transcript while it is written."""

    def __init__(self, work: _Work, file: FileState, model: Transcriber) -> None:
        self._work, self._file, self._model = work, file, model
        self._store: Store = store(work.job.owner)
        self._passage = bool(work.job.params.get("passage"))
        self._before = self._draft()
        self._recording = work.source(file)
        self._begun = time.monotonic()
        self._finished: SpeechFinished | None = None
        self.segments: list[Segment] = list(self._before.segments) if self._before else []

    def _draft(self) -> Transcription | None:
        """What a process that was killed had kept of the file."""
        if not self._file.transcript_id or self._passage:
            return None
        with suppress(NotFound):
            kept = Transcription.of(self._store.transcripts.get(self._file.transcript_id).payload)
            return kept if kept.segments else None
        self._file.transcript_id = ""  # the visitor has removed it: begin anew
        return None

    def take_all(self) -> None:
        options, wanted, file = self._work.options, self._recording, self._file
        if self._before is not None:
            wanted = replace(wanted, start_s=self._before.segments[-1].end_s)
            options = replace(options, language=self._before.language)
        kept_at = time.monotonic()
        for event in self._model.transcribe(wanted, options, self._work.job.cancel):
            match event:
                case SpeechStarted():
                    if self._before is None:
                        file.language, file.language_probability = event.language, event.language_probability
                    file.decoding, file.why = event.decoding, event.why
                case Segment():
                    self.segments.append(event)
                    file.segments = [segment.to_dict() for segment in self.segments[-_SHOWN:]]
                case SpeechProgress(done_s=done_s, total_s=total_s):
                    file.done_s, file.total_s = done_s, total_s
                    file.speed = (done_s - wanted.start_s) / max(time.monotonic() - self._begun, 1e-6)
                    if not self._passage and self.segments and time.monotonic() - kept_at >= KEPT_EVERY_S:
                        self._keep_draft()
                        kept_at = time.monotonic()
                case SpeechFinished():
                    self._finished = event
            self._work.tell()

    def _keep_draft(self) -> None:
        try:
            self.keep()
        except Exception:  # a full disk must not end the work: there may be room when it is done
            _log.warning("What there is of %s could not be kept", self._file.name, exc_info=True)

    def keep(self) -> None:
        """Saves what there is as the file's transcript, or in the place of the passage."""
        transcripts, result = self._store.transcripts, self._result()
        if self._passage:
            whole = Transcription.of(transcripts.get(self._file.transcript_id).payload)
            segments = replaced(whole.segments, self._file.start_s, self._file.end_s or 0.0, result.segments)
            drawn = marked(segments, SpeechOptions().with_values(whole.options))
            transcripts.update(self._file.transcript_id, payload=replace(whole, segments=tuple(drawn)).to_dict())
        elif self._file.transcript_id:
            transcripts.update(self._file.transcript_id, payload=result.to_dict())
        else:
            with playable(self._recording.source, self._recording.name) as (audio, media_type):
                sha256 = self._store.attachments.put(audio)
            name = self._file.name
            made = transcripts.create(
                name, result.to_dict(), audio_sha256=sha256, audio_name=name, audio_type=media_type
            )
            self._file.transcript_id = made.id
            self._work.tell(now=True)

    def _result(self) -> Transcription:
        file, finished, before = self._file, self._finished, self._before
        whole = finished is not None and finished.reason == "stop"
        return Transcription(
            name=file.name,
            language=file.language,
            segments=tuple(self.segments),
            language_probability=file.language_probability,
            duration_s=finished.duration_s if finished and whole else file.total_s or file.done_s,
            model=self._model.entry.id,
            runtime=self._model.runtime,
            decoding=file.decoding,
            why=file.why,
            options=self._work.options.to_dict(),
            complete=whole,
            missing_s=finished.missing_s if finished else 0.0,
            took_s=time.monotonic() - self._begun + (before.took_s if before else 0.0),
        )
