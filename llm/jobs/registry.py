"""Work in the background: it outlives pages and reloads, and can go on after its process was killed.

A job is a thread of the server and a folder `<home>/jobs/<id>` with its record, its log and whatever the work keeps
there. Other processes read the record; a lock in the folder says whether somebody is at it.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from llm.cancel import Cancel
from llm.config import config
from llm.errors import Cancelled, JobInterrupted, ModelError
from llm.jobs import record as records
from llm.jobs.kinds import KINDS, JobKind
from llm.jobs.record import JobRecord, Rate
from llm.redaction import without_secrets

LOCAL = "local"
"""Owner of what belongs to everybody at this machine."""
_SAVED_EVERY_S = 1.0
_SILENT_S = 10.0
"""A job of another process that has said nothing for so long is looked at: the process may be gone."""
_RACY_S = 2.0
"""A folder whose last change is so near to the last look may have changed again within the clock's step."""
_log = logging.getLogger(__name__)


class Job:
    """A job as its own work sees it."""

    def __init__(self, owner: Jobs, record: JobRecord) -> None:
        self._jobs, self._rate, self._saved_at = owner, Rate(), 0.0
        self.id, self.owner, self.params = record.id, record.owner, record.params
        self.result = dict(record.result)
        """What an earlier run of the same job has kept."""
        self.folder = owner.folder_of(record.id)
        self.cancel = Cancel()
        """Set when the work must end: as soon as it can, by returning or raising `Cancelled`."""
        self._troubled = False
        self.pausing = False
        """Whether it is to go on later, so that what it has should be kept."""

    @property
    def inputs(self) -> list[tuple[str, Path]]:
        """The files that came along: the name that people know each by, and where it lies."""
        names = self.params.get("inputs", [])
        return [(name, self.folder / "inputs" / str(index)) for index, name in enumerate(names)]

    def progress(self, done: float, total: float = 0.0, unit: str = "", stage: str = "") -> None:
        """Tells how far the work is. Cheap enough for every row: it is written down once a second."""
        now = time.monotonic()
        save = now - self._saved_at >= _SAVED_EVERY_S
        self._saved_at = now if save else self._saved_at
        rate = self._rate(now, done)
        well = {"error_code": "", "error_values": {}, "error_text": ""} if self._troubled else {}
        self._troubled = False
        self._jobs._change(self.id, save, done=done, total=total, unit=unit, stage=stage, rate=rate, **well)

    def keep(self, **values: Any) -> None:
        """Adds to the result, at once; values are JSON."""
        self.result.update(values)
        self._jobs._change(self.id, result=dict(self.result))

    def troubled(self, error: ModelError) -> None:
        """Tells why the work waits before it tries again; the next progress takes it back."""
        self._troubled = True
        self._jobs._change(self.id, stage="retrying", rate=0.0, **error_fields(error))

    def log(self, text: str) -> None:
        """A line in the job's own log, which pages show."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


class Jobs:
    """The jobs of one data folder. All methods are safe to call from any thread."""

    def __init__(self, folder: Path, kinds: Mapping[str, JobKind] = KINDS) -> None:
        self._folder, self._kinds = folder, kinds
        self._lock = threading.RLock()
        self._records: dict[str, JobRecord] = {}
        self._running: dict[str, tuple[threading.Thread, Job]] = {}
        self._scanned_at = 0.0
        self._turns = {name: threading.Semaphore(kind.at_once) for name, kind in kinds.items()}
        self._restore()

    def start(
        self,
        kind: str,
        title: str,
        params: Mapping[str, Any],
        owner: str = LOCAL,
        inputs: Sequence[tuple[str, bytes | str | Path | BinaryIO]] = (),
    ) -> JobRecord:
        """Begins work of a kind. `params` are JSON; `inputs` are files by name, kept with the job until it is removed.

        Raises:
            KeyError: there is no such kind.
            OSError: the record cannot be written.
        """
        self._kinds[kind]
        given = {**params, **({"inputs": [name for name, _ in inputs]} if inputs else {})}
        record = JobRecord(uuid.uuid4().hex, kind, owner, title, params=given, created_at=time.time())
        folder = self.folder_of(record.id)
        (folder / "inputs").mkdir(parents=True)
        for index, (_, data) in enumerate(inputs):  # people's file names are nothing to make paths of
            with (folder / "inputs" / str(index)).open("wb") as kept:
                if isinstance(data, bytes):
                    kept.write(data)
                else:
                    with open(data, "rb") if isinstance(data, str | Path) else nullcontext(data) as given_file:
                        shutil.copyfileobj(given_file, kept)
        records.write(self._file(record.id), record)
        with self._lock:
            self._records[record.id] = record
            self._begin(record.id)
            return self._records[record.id]

    def get(self, job_id: str, owner: str = LOCAL) -> JobRecord | None:
        """A job of that owner's, or of the machine."""
        with self._lock:
            self._follow_others()
            record = self._records.get(job_id)
            return record if record is not None and self._is_theirs(record, owner) else None

    def all(self, owner: str = LOCAL, kind: str | None = None) -> list[JobRecord]:
        """That owner's jobs and those of the machine, the newest first."""
        with self._lock:
            self._follow_others()
            mine = [r for r in self._records.values() if kind in (None, r.kind) and self._is_theirs(r, owner)]
            return sorted(mine, key=lambda record: record.created_at, reverse=True)

    def cancel(self, job_id: str) -> None:
        """Ends a job. What is in its folder stays until it is removed."""
        with self._lock:
            if job_id in self._running:
                self._running[job_id][1].pausing = False
                self._running[job_id][1].cancel.set()
            elif job_id in self._records and self._records[job_id].state in ("paused", "failed"):
                self._change(job_id, state="cancelled")
                self._give_up(job_id)

    def pause(self, job_id: str) -> None:
        """Ends a job of a pausable kind so that `resume` can go on."""
        with self._lock:
            if job_id in self._running and self._kinds[self._records[job_id].kind].pausable:
                self._running[job_id][1].pausing = True
                self._running[job_id][1].cancel.set()

    def resume(self, job_id: str, **params: Any) -> None:
        """Goes on with a paused, failed or cancelled job, from what it has kept; `params` are asked differently now."""
        with self._lock:
            record = self._records.get(job_id)
            if record is not None and job_id not in self._running and record.state in ("paused", "failed", "cancelled"):
                asked = {**record.params, **params}
                self._change(job_id, state="queued", params=asked, error_code="", error_values={}, error_text="")
                self._begin(job_id)

    def remove(self, job_id: str) -> None:
        """Forgets a job that does not run, and its folder."""
        with self._lock:
            if job_id in self._records and job_id not in self._running:
                if self._records[job_id].state in ("paused", "failed"):
                    self._give_up(job_id)
                del self._records[job_id]
                shutil.rmtree(self.folder_of(job_id), ignore_errors=True)

    def note(self, job_id: str, **values: Any) -> None:
        """Adds to the result of a job that does not run; values are JSON."""
        with self._lock:
            record = self._records.get(job_id)
            if record is not None and job_id not in self._running:
                self._change(job_id, result={**record.result, **values})

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobRecord | None:
        """The job once it has ended or been paused, or as it is after the time."""
        with self._lock:
            running = self._running.get(job_id)
        if running:
            running[0].join(timeout_s)
        with self._lock:
            return self._records.get(job_id)

    def log(self, job_id: str) -> str:
        """The job's own log so far."""
        try:
            return (self.folder_of(job_id) / "log.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def folder_of(self, job_id: str) -> Path:
        return self._folder / job_id

    def _file(self, job_id: str) -> Path:
        return self.folder_of(job_id) / "record.json"

    def _begin(self, job_id: str) -> None:
        job = Job(self, self._records[job_id])
        thread = threading.Thread(target=self._work, args=(job,), name=f"job {job_id}", daemon=True)
        self._running[job_id] = (thread, job)
        thread.start()

    def _work(self, job: Job) -> None:
        """The thread of one job."""
        kind = self._kinds[self._records[job.id].kind]
        turn = self._turns[self._records[job.id].kind]
        try:
            with FileLock(job.folder / "lock", timeout=0, thread_local=False):
                while not turn.acquire(timeout=0.2):
                    if job.cancel.is_set():
                        return self._ended(job)
                try:
                    self._change(job.id, state="running")
                    job.result.update(kind.work()(job) or {})
                    self._ended(job)
                finally:
                    turn.release()
        except Timeout:
            _log.warning("another Hearth works on job %s", job.id)
        except Cancelled:
            self._ended(job)
        except ModelError as error:
            self._failed(job, error)
        except Exception as error:  # a bug must end in a sentence, not in a page that waits for ever
            _log.exception("job %s failed", job.id)
            self._failed(job, ModelError(detail=f"{type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._running.pop(job.id, None)

    def _ended(self, job: Job) -> None:
        state = "done"
        if job.cancel.is_set():
            state = "paused" if job.pausing else "cancelled"
        if state == "cancelled":
            self._give_up(job.id)
        self._change(job.id, state=state, rate=0.0, result=dict(job.result))

    def _give_up(self, job_id: str) -> None:
        """Removes what an unfinished job's work has kept elsewhere."""
        record = self._records[job_id]
        if record.kind in self._kinds:
            self._kinds[record.kind].give_up(record)

    def _is_theirs(self, record: JobRecord, owner: str) -> bool:
        return record.owner == owner or (record.kind in self._kinds and self._kinds[record.kind].shared)

    def _failed(self, job: Job, error: ModelError) -> None:
        _log.error("job %s: %s", job.id, error)
        self._change(job.id, state="failed", rate=0.0, result=dict(job.result), **error_fields(error))

    def _change(self, job_id: str, save: bool = True, **values: Any) -> None:
        with self._lock:
            if job_id not in self._records:
                return
            self._records[job_id] = replace(self._records[job_id], updated_at=time.time(), **values)
            if save:
                try:
                    records.write(self._file(job_id), self._records[job_id])
                except OSError as error:  # a full disk must not end the work that it tells of
                    _log.warning("the state of job %s could not be kept: %s", job_id, error)

    def _follow_others(self) -> None:
        """Reads again what other processes are at, and what they have begun; takes up what they died over."""
        try:
            changed_at = self._folder.stat().st_mtime
        except OSError:
            return
        now = time.time()
        names = {record.id for record in self._records.values() if record.active}
        if changed_at > self._scanned_at - _RACY_S:
            names |= {path.name for path in self._folder.iterdir()} - {
                r.id for r in self._records.values() if not r.active
            }
            self._scanned_at = now
        for job_id in names - self._running.keys():
            found = records.read(self._file(job_id))
            if found is not None and found.id == job_id:
                self._records[job_id] = found
                if found.active and now - found.updated_at > _SILENT_S:
                    self._take_up(found)

    def _restore(self) -> None:
        """Takes up the jobs of the last process."""
        self._follow_others()
        for record in list(self._records.values()):
            if record.active and record.id not in self._running:
                self._take_up(record)

    def _take_up(self, record: JobRecord) -> None:
        """Of a process that died: what can go on does, anything else has failed. Others' work is left to them."""
        just_begun = record.state == "queued" and time.time() - record.created_at < _RACY_S  # its thread locks it soon
        if just_begun or not self._is_free(record.id):
            return
        if record.kind in self._kinds and self._kinds[record.kind].resumes:
            self._change(record.id, state="queued")
            self._begin(record.id)
        else:
            self._change(record.id, state="failed", rate=0.0, **error_fields(JobInterrupted(title=record.title)))

    def _is_free(self, job_id: str) -> bool:
        """Whether no process works on it."""
        try:
            with FileLock(self.folder_of(job_id) / "lock", timeout=0, thread_local=False):
                return True
        except Timeout:
            return False


def error_fields(error: ModelError) -> dict[str, Any]:
    """An error as records keep it; keys that stand in an address are nobody's to read."""
    values = {name: without_secrets(v) if isinstance(v, str) else v for name, v in error.values.items()}
    return {"error_code": error.code, "error_values": values, "error_text": without_secrets(str(error))}


def jobs() -> Jobs:
    """The one `Jobs` of this process and data folder; made, and earlier jobs taken up, on first use."""
    return _jobs(config().home / "jobs")


_making = threading.Lock()


def _jobs(folder: Path) -> Jobs:
    with _making:  # two registries of one folder would start the same jobs twice
        return _made(folder)


@cache
def _made(folder: Path) -> Jobs:
    return Jobs(folder)
