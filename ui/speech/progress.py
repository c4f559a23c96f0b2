"""A transcription while it works: how far, how fast, what was understood so far, and a way to end it."""

from __future__ import annotations

import html

import streamlit as st

from llm.errors import ModelError
from llm.speech.jobs import FileWork, Job
from ui.shared.i18n import explain, t
from ui.shared.markdown import escaped
from ui.shared.units import readable_seconds
from ui.speech.inputs import language_name
from ui.speech.state import HELD, PROBLEMS, TRANSCRIPT, UNDO

SHOWN = 60
"""The newest segments are drawn; all are there when it is done."""


@st.fragment(run_every=0.5)
def job_view(job: Job) -> None:
    """Draws a running job. Only this part of the page runs again, and the page when the job has ended."""
    if not job.active:
        st.rerun()
    for number, file in enumerate(job.files):
        if file.state == "done":
            st.caption(f":material/check: {escaped(file.recording.name)}")
        elif file.state == "failed" and file.error:
            st.error(explain(file.error))
        elif file.state in ("loading", "running", "saving"):
            _running(file, number, len(job.files))
    if all(file.state == "waiting" for file in job.files if file.error is None):
        st.info(t("speech.waiting"))
    label = t("speech.stopping") if job.cancelling else t("speech.cancel")
    st.button(label, icon=":material/stop:", key="speech_cancel", on_click=job.cancel, disabled=job.cancelling)


def _running(file: FileWork, number: int, count: int) -> None:
    name = escaped(file.recording.name)
    title = f"{name} ({number + 1}/{count})" if count > 1 else name
    begin = file.recording.start_s
    share = 0.0
    if file.total_s and file.total_s > begin:
        share = min(max((file.done_s - begin) / (file.total_s - begin), 0.0), 1.0)
    st.progress(share, f"**{title}** · {_how_far(file)}")
    if file.started is not None:
        facts = [how_decoded(file.started.decoding, file.started.why)]
        facts.insert(0, heard_language(file.started.language, file.started.language_probability))
        st.caption(" · ".join(facts))
    if file.segments:
        lines = "".join(
            f'<p><span class="speech-time">{clock(segment.start_s)}</span> {html.escape(segment.text)}</p>'
            for segment in file.segments[-SHOWN:]
        )
        with st.container(height=320, autoscroll=True, key="speech_live"):
            st.html(f'<div class="speech-live" aria-live="polite">{_STYLE}{lines}</div>')


_STYLE = """<style>.speech-live p { margin: 0 0 .35rem; line-height: 1.5; overflow-wrap: anywhere; }
.speech-time { opacity: .6; font-size: .8rem; font-variant-numeric: tabular-nums; margin-right: .4rem; }</style>"""


def _how_far(file: FileWork) -> str:
    if file.state == "loading":
        return t("speech.loading")
    if file.state == "saving":
        return t("speech.saving")
    begin = file.recording.start_s
    done = clock(file.done_s - begin)
    parts = [t("speech.of", done=done, total=clock(file.total_s - begin)) if file.total_s else done]
    if file.speed:
        parts.append(t("speech.speed", times=f"{file.speed:.1f}"))
    if file.remaining_s is not None:
        parts.append(t("speech.remaining", time=readable_seconds(file.remaining_s)))
    return " · ".join(parts)


def finish(job: Job) -> None:
    """Notes how a job ended: the last transcript is opened, failures are kept for `show_problems`."""
    job.seen = True
    made = [file.transcript_id for file in job.files if file.transcript_id]
    if made and st.session_state.get(TRANSCRIPT) != made[-1]:
        st.session_state[TRANSCRIPT] = made[-1]
        st.session_state[UNDO] = []
    st.session_state[PROBLEMS] = [file.error for file in job.files if file.error]
    st.session_state[HELD] = [file.recording for file in job.files if file.error or not file.transcript_id]
    if len(made) > 1:
        st.toast(t("speech.made", count=len(made)), icon=":material/done_all:")
    elif any(file.state == "cancelled" for file in job.files):
        st.toast(t("speech.cancelled_kept") if made else t("speech.cancelled"), icon=":material/stop:")


def show_problems() -> None:
    """The sentences of what failed last."""
    problems: list[ModelError] = st.session_state.get(PROBLEMS, [])
    for problem in problems:
        st.error(explain(problem), icon=":material/error:")


def heard_language(code: str, probability: float) -> str:
    """The language, with its probability where it was detected."""
    if probability >= 1:
        return language_name(code)
    return t("speech.detected", language=language_name(code), percent=round(probability * 100))


def how_decoded(decoding: str, why: str) -> str:
    """Batched or sequential, and for what reason."""
    return t("speech.decoded", how=t(f"speech.option_decoding_{decoding}"), why=t(f"speech.why_{why}"))


def clock(seconds: float) -> str:
    """`3:07`, `1:02:09`."""
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
