"""What the Speech page remembers in a session, and changes of the transcript that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.chat import recordings
from llm.errors import NotFound
from llm.jobs import JobRecord, jobs
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, Transcription
from llm.speech.transcriber import Recording
from llm.store import Transcript
from ui.shared.state import kept, owner

TRANSCRIPT = "speech.transcript"
JOB = "speech.job"
OPTIONS = "speech.options"
DELETED = "speech.deleted"
UNDO = "speech.undo"
UNDO_STEPS = 30


def open_transcript(transcript_id: str) -> None:
    """Callback: shows a transcript; an empty id is the form for a new one."""
    st.session_state[TRANSCRIPT] = transcript_id
    st.session_state[UNDO] = []
    recordings.forget_ended(owner())


def current_transcript() -> tuple[Transcript, Transcription] | None:
    """The transcript that is shown: the session's, or after a reload the one that the address names."""
    transcript_id = st.session_state.get(TRANSCRIPT, st.query_params.get("t", ""))
    if transcript_id:
        try:
            item = kept().transcripts.get(transcript_id)
        except NotFound:
            item = None
        if item is not None and item.deleted_at is None:
            st.session_state[TRANSCRIPT] = st.query_params["t"] = item.id
            return item, Transcription.of(item.payload)
    st.query_params.pop("t", None)
    return None


def current_job() -> JobRecord | None:
    """The job that this visitor began: the session's, or after a reload the one that the address names."""
    job = jobs().get(st.session_state.get(JOB) or st.query_params.get("job", ""), owner())
    if job is None or (not job.active and job.result.get("seen")):
        st.query_params.pop("job", None)
        st.session_state.pop(JOB, None)
        return None
    st.session_state[JOB] = st.query_params["job"] = job.id
    return job


def other_jobs() -> list[JobRecord]:
    """What runs of the same owner's, begun in another session."""
    return [job for job in jobs().all(owner(), recordings.KIND) if job.active and job.id != st.session_state.get(JOB)]


def change(item: Transcript, before: Transcription, segments: Sequence[Segment]) -> None:
    """Saves other segments; `undo` brings the ones before back."""
    remember_for_undo(before)
    kept().transcripts.update(item.id, payload=replace(before, segments=tuple(segments)).to_dict())


def remember_for_undo(before: Transcription) -> None:
    st.session_state[UNDO] = [*st.session_state.get(UNDO, []), before][-UNDO_STEPS:]


def undo(transcript_id: str) -> None:
    """Callback: takes the last change back."""
    if steps := st.session_state.get(UNDO):
        kept().transcripts.update(transcript_id, payload=steps.pop().to_dict())


def start(waiting: Sequence[Recording], options: SpeechOptions, model: ModelEntry) -> JobRecord:
    """Begins to transcribe; each file becomes a transcript of the visitor's."""
    return _begun(recordings.start(waiting, options, model.id, owner()))


def start_again(
    item: Transcript, before: Transcription, passage: tuple[float, float], options: SpeechOptions, model: ModelEntry
) -> JobRecord:
    """Begins to transcribe one passage again, in seconds; it takes the place of what stood there."""
    remember_for_undo(before)
    return _begun(recordings.start_again(item, passage, options, model.id, owner()))


def _begun(job: JobRecord) -> JobRecord:
    st.session_state[JOB] = job.id
    return job
