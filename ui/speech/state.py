"""What the Speech page remembers in a session, and changes of the transcript that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from llm.errors import NotFound
from llm.speech.jobs import Job, Keep, OpenModel, jobs
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, Transcription
from llm.speech.transcriber import Recording
from llm.store import Store, Transcript
from ui.shared.state import kept, owner

TRANSCRIPT = "speech.transcript"
JOB = "speech.job"
OPTIONS = "speech.options"
PROBLEMS = "speech.problems"
DELETED = "speech.deleted"
UNDO = "speech.undo"
UNDO_STEPS = 30


HELD = "speech.held"
"""Recordings that could not be transcribed, for another try."""


def open_transcript(transcript_id: str) -> None:
    """Callback: shows a transcript; an empty id is the form for a new one."""
    st.session_state[TRANSCRIPT] = transcript_id
    st.session_state[UNDO] = []
    st.session_state.pop(PROBLEMS, None)


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


def current_job() -> Job | None:
    """The job that this visitor began: the session's, or after a reload the one that the address names."""
    job = jobs().get(st.session_state.get(JOB) or st.query_params.get("job", ""), owner())
    if job is None:
        st.query_params.pop("job", None)
    else:
        st.session_state[JOB] = st.query_params["job"] = job.id
    return job


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


def start(recordings: Sequence[Recording], options: SpeechOptions, model: OpenModel) -> Job:
    """Begins to transcribe; each file becomes a transcript of the visitor's."""
    st.session_state.pop(PROBLEMS, None)
    st.session_state.pop(HELD, None)
    return _begun(jobs().start(recordings, options, owner(), model, _keep_new(kept())))


def start_again(
    item: Transcript, before: Transcription, passage: tuple[float, float], options: SpeechOptions, model: OpenModel
) -> Job:
    """Begins to transcribe one passage again, in seconds; it takes the place of what stood there."""
    store = kept()
    path = store.attachments.path(item.audio_sha256 or "")
    remember_for_undo(before)
    recording = Recording(path, item.title, *passage)
    keep = _keep_passage(store, item.id, passage)
    return _begun(jobs().start([recording], options, owner(), model, keep, drafts=False))


def _begun(job: Job) -> Job:
    st.session_state[JOB] = job.id
    return job


def _keep_new(store: Store) -> Keep:
    from llm.speech.playable import playable

    def keep(result: Transcription, recording: Recording, before: str) -> str:
        if before:
            store.transcripts.update(before, payload=result.to_dict())
            return before
        with playable(recording.source, recording.name) as (audio, media_type):
            sha256 = store.attachments.put(audio)
        made = store.transcripts.create(
            recording.name, result.to_dict(), audio_sha256=sha256, audio_name=recording.name, audio_type=media_type
        )
        return made.id

    return keep


def _keep_passage(store: Store, transcript_id: str, passage: tuple[float, float]) -> Callable[..., str]:
    from llm.speech.editing import replaced
    from llm.speech.marks import marked

    def keep(result: Transcription, recording: Recording, _: str) -> str:
        whole = Transcription.of(store.transcripts.get(transcript_id).payload)
        segments = marked(
            replaced(whole.segments, *passage, result.segments), SpeechOptions().with_values(whole.options)
        )
        store.transcripts.update(transcript_id, payload=replace(whole, segments=tuple(segments)).to_dict())
        return transcript_id

    return keep
