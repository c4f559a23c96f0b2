"""Transcriptions in the background: they outlive a page's run and a reload, and nobody's page waits for another's.

A job is one thread that takes files one after the other. What it has so far can be read at any time, and of a long
file is kept now and then, so that a process that is killed loses little. A transcript and its sound are kept together.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

from llm.cancel import Cancel
from llm.errors import ModelError
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription
from llm.speech.transcriber import Recording

log = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "loading", "running", "saving", "done", "cancelled", "failed"]
ENDED: frozenset[State] = frozenset({"done", "cancelled", "failed"})
AT_ONCE = 2
"""Jobs that run at the same time; each holds some minutes of sound. Others wait."""


class Speaks(Protocol):
    """The part of a loaded speech model that a job needs."""

    @property
    def entry(self) -> Any: ...

    @property
    def runtime(self) -> str: ...

    def transcribe(self, audio: Recording, options: SpeechOptions, cancel: Cancel) -> Any: ...


KEPT_EVERY_S = 15.0
"""How much work a killed process may lose."""


OpenModel: TypeAlias = Callable[[], Speaks]
Keep: TypeAlias = Callable[[Transcription, Recording, str], str]
"""Saves a result and returns the transcript's id. The last argument is the id of what was saved of this file before,
empty the first time."""


@dataclass
class FileWork:
    """One file of a job, as far as it is. `speed` is seconds of sound per second; 0 while unknown."""

    recording: Recording
    state: State = "waiting"
    started: SpeechStarted | None = None
    segments: list[Segment] = field(default_factory=list)
    done_s: float = 0.0
    total_s: float | None = None
    speed: float = 0.0
    error: ModelError | None = None
    transcript_id: str = ""

    @property
    def remaining_s(self) -> float | None:
        """Seconds of work that are left at this speed; None: unknown."""
        if self.total_s is None or not self.speed:
            return None
        return max(self.total_s - self.done_s, 0.0) / self.speed


class Job:
    """Files on their way to text. Made by `Jobs.start`; fields are read by pages and written by the job's thread."""

    def __init__(self, files: Sequence[Recording], options: SpeechOptions, owner: str, drafts: bool = True) -> None:
        self.id = uuid.uuid4().hex
        self.owner = owner
        self.options = options
        self.files = [FileWork(recording, total_s=recording.end_s) for recording in files]
        self.seen = False
        """Whether a page has shown how it ended."""
        self._drafts = drafts
        self._cancel = Cancel()

    @property
    def active(self) -> bool:
        return any(file.state not in ENDED for file in self.files)

    @property
    def cancelling(self) -> bool:
        return self._cancel.is_set() and self.active

    def cancel(self) -> None:
        """Ends the work after the window that is being decoded; what is written stays."""
        self._cancel.set()

    def run(self, open_model: OpenModel, keep: Keep, turn: threading.Semaphore) -> None:
        """Works through the files. Errors end one file, not the job."""
        with turn:
            for file in self.files:
                if self._cancel.is_set():
                    file.state = "cancelled"
                    continue
                try:
                    self._work(file, open_model, keep)
                except ModelError as error:
                    file.error, file.state = error, "failed"
                except Exception as error:  # a bug must end in a sentence, not in a page that waits for ever
                    log.exception("Transcribing %s failed", file.recording.name)
                    file.error, file.state = ModelError(detail=f"{type(error).__name__}: {error}"), "failed"

    def _work(self, file: FileWork, open_model: OpenModel, keep: Keep) -> None:
        file.state = "loading"
        model = open_model()
        file.state = "running"
        begun = kept = time.monotonic()
        finished: SpeechFinished | None = None
        failure: Exception | None = None
        try:
            for event in model.transcribe(file.recording, self.options, self._cancel):
                match event:
                    case SpeechStarted():
                        file.started = event
                    case Segment():
                        file.segments.append(event)
                    case SpeechProgress(done_s=done_s, total_s=total_s):
                        file.done_s, file.total_s = done_s, total_s
                        now = time.monotonic()
                        file.speed = (done_s - file.recording.start_s) / max(now - begun, 1e-6)
                        if self._drafts and file.segments and now - kept >= KEPT_EVERY_S:
                            self._keep_draft(file, _result(file, None, self.options, model, now - begun), keep)
                            kept = time.monotonic()
                    case SpeechFinished():
                        finished = event
        except Exception as error:
            if not file.segments:
                raise
            failure = error  # what was understood before it is worth keeping
        if file.started and (file.segments or not self._cancel.is_set()):
            file.state = "saving"
            result = _result(file, finished, self.options, model, time.monotonic() - begun)
            file.transcript_id = keep(result, file.recording, file.transcript_id)
        if failure is not None:
            raise failure
        file.state = "cancelled" if self._cancel.is_set() else "done"

    @staticmethod
    def _keep_draft(file: FileWork, result: Transcription, keep: Keep) -> None:
        try:
            file.transcript_id = keep(result, file.recording, file.transcript_id)
        except Exception:  # a full disk must not end the work: there may be room when it is done
            log.warning("What there is of %s could not be kept", file.recording.name, exc_info=True)


def _result(
    file: FileWork, finished: SpeechFinished | None, options: SpeechOptions, model: Speaks, took_s: float
) -> Transcription:
    started = file.started or SpeechStarted("", 0.0, None, "", "")
    return Transcription(
        name=file.recording.name,
        language=started.language,
        segments=tuple(file.segments),
        language_probability=started.language_probability,
        duration_s=finished.duration_s if finished and finished.reason == "stop" else file.total_s or file.done_s,
        model=model.entry.id,
        runtime=model.runtime,
        decoding=started.decoding,
        why=started.why,
        options=options.to_dict(),
        complete=finished is not None and finished.reason == "stop",
        missing_s=finished.missing_s if finished else 0.0,
        took_s=took_s,
    )


class Jobs:
    """The jobs of this process."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._turn = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()

    def start(
        self,
        files: Sequence[Recording],
        options: SpeechOptions,
        owner: str,
        open_model: OpenModel,
        keep: Keep,
        drafts: bool = True,
    ) -> Job:
        """Begins a job in a thread of its own. drafts: `keep` is also called in the middle of a file."""
        job = Job(files, options, owner, drafts)
        with self._lock:
            self._jobs = {key: kept for key, kept in self._jobs.items() if kept.active or not kept.seen}
            self._jobs[job.id] = job
        threading.Thread(target=job.run, args=(open_model, keep, self._turn), name="transcription", daemon=True).start()
        return job

    def drafts(self, owner: str) -> set[str]:
        """Ids of the transcripts that grow now, which nobody should change meanwhile."""
        active = [job for job in list(self._jobs.values()) if job.active and job.owner == owner]
        return {file.transcript_id for job in active for file in job.files if file.state not in ENDED}

    def get(self, job_id: str, owner: str) -> Job | None:
        """A job of that owner's which runs, or whose end nobody has seen."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner and (job.active or not job.seen) else None


@cache
def jobs() -> Jobs:
    """The one registry of the process."""
    return Jobs()
