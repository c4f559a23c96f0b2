"""A transcription while it works: how far, how fast, what was understood so far, and a way to end it."""

from __future__ import annotations

import html

import streamlit as st

from llm.chat.recordings import KIND, FileState, files_of
from llm.jobs import JobRecord, jobs
from llm.speech.segments import Segment
from ui.shared.i18n import explain_code, t
from ui.shared.markdown import escaped
from ui.shared.state import owner
from ui.shared.units import readable_seconds
from ui.speech.inputs import language_name
from ui.speech.state import TRANSCRIPT, UNDO

_STOPPING = "speech.stopping"


@st.fragment(run_every=0.5)
def job_view(job_id: str) -> None:
    """Draws a running job. Only this part of the page runs again, and the page when the job has ended."""
    job = jobs().get(job_id, owner())
    if job is None or not job.active:
        st.rerun()
    files = files_of(job)
    for number, file in enumerate(files):
        if file.state == "done":
            st.caption(f":material/check: {escaped(file.name)}")
        elif file.state == "failed":
            st.error(_why(file))
        elif file.state in ("loading", "running", "saving"):
            _running(file, number, len(files))
    if job.state == "queued" or all(file.state == "waiting" for file in files):
        st.info(t("speech.waiting"))
    stopping = st.session_state.get(_STOPPING) == job.id
    label = t("speech.stopping") if stopping else t("speech.cancel")
    st.button(label, icon=":material/stop:", key="speech_cancel", on_click=_stop, args=(job.id,), disabled=stopping)


def _stop(job_id: str) -> None:
    """Callback: the work ends after the window that is being decoded; what is written stays."""
    st.session_state[_STOPPING] = job_id
    jobs().cancel(job_id)


def _why(file: FileState) -> str:
    return explain_code(file.error_code, file.error_values) or file.error_text


def _running(file: FileState, number: int, count: int) -> None:
    name = escaped(file.name)
    title = f"{name} ({number + 1}/{count})" if count > 1 else name
    begin = file.start_s
    share = 0.0
    if file.total_s and file.total_s > begin:
        share = min(max((file.done_s - begin) / (file.total_s - begin), 0.0), 1.0)
    st.progress(share, f"**{title}** · {_how_far(file)}")
    if file.decoding:
        heard = heard_language(file.language, file.language_probability)
        st.caption(f"{heard} · {how_decoded(file.decoding, file.why)}")
    if file.segments:
        lines = "".join(
            f'<p><span class="speech-time">{clock(segment.start_s)}</span> {html.escape(segment.text)}</p>'
            for segment in map(Segment.of, file.segments)
        )
        with st.container(height=320, autoscroll=True, key="speech_live"):
            st.html(f'<div class="speech-live" aria-live="polite">{_STYLE}{lines}</div>')


_STYLE = """<style>.speech-live p { margin: 0 0 .35rem; line-height: 1.5; overflow-wrap: anywhere; }
.speech-time { opacity: .6; font-size: .8rem; font-variant-numeric: tabular-nums; margin-right: .4rem; }</style>"""


def _how_far(file: FileState) -> str:
    if file.state == "loading":
        return t("speech.loading")
    if file.state == "saving":
        return t("speech.saving")
    begin = file.start_s
    done = clock(file.done_s - begin)
    parts = [t("speech.of", done=done, total=clock(file.total_s - begin)) if file.total_s else done]
    if file.speed:
        parts.append(t("speech.speed", times=f"{file.speed:.1f}"))
    if file.remaining_s is not None:
        parts.append(t("speech.remaining", time=readable_seconds(file.remaining_s)))
    return " · ".join(parts)


def finish(job: JobRecord) -> None:
    """Notes how a job ended: the last transcript is opened. What failed is kept for `show_problems` and another try."""
    files = files_of(job)
    made = [file.transcript_id for file in files if file.transcript_id]
    if made and st.session_state.get(TRANSCRIPT) != made[-1]:
        st.session_state[TRANSCRIPT] = made[-1]
        st.session_state[UNDO] = []
    if any(file.state != "done" for file in files):
        jobs().note(job.id, seen=True)
    else:
        jobs().remove(job.id)
    if len(made) > 1:
        st.toast(t("speech.made", count=len(made)), icon=":material/done_all:")
    elif any(file.state == "cancelled" for file in files):
        st.toast(t("speech.cancelled_kept") if made else t("speech.cancelled"), icon=":material/stop:")


def show_problems() -> None:
    """The sentences of what failed last."""
    for job in jobs().all(owner(), KIND):
        for file in files_of(job) if not job.active else []:
            if file.state == "failed":
                st.error(_why(file), icon=":material/error:")


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
