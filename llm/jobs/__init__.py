"""Background work: a record on disk for each job, progress, cancel, pause, resume, log, child programs."""

from __future__ import annotations

from llm.jobs.kinds import JobKind
from llm.jobs.record import JobRecord
from llm.jobs.registry import Job, Jobs, error_fields, jobs

__all__ = ["Job", "JobKind", "JobRecord", "Jobs", "error_fields", "jobs"]
