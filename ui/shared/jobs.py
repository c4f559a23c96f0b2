"""A job as a page shows it, wherever it was begun."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from llm.jobs import JobRecord, jobs
from llm.jobs.kinds import KINDS
from ui.shared.i18n import explain_code, language, t, words
from ui.shared.markdown import escaped
from ui.shared.state import owner
from ui.shared.units import readable_bytes, readable_seconds


@st.fragment(run_every=1.0)
def job_card(job_id: str, removable: bool = True, hint: str = "") -> None:
    """Title, progress and buttons of a job, live while it runs; the page runs again when it ends.

    hint: what else can be done when it has failed.
    """
    job = jobs().get(job_id, owner())
    seen = f"job_seen_{job_id}"
    if job is None:
        return
    if st.session_state.get(seen) and not job.active:
        st.session_state[seen] = False
        st.rerun()
    st.session_state[seen] = job.active
    with st.container(border=True):
        if job.active:
            share = min(1.0, job.done / job.total) if job.total else 0.0
            st.progress(share, f"**{escaped(job.title)}** · {progress_text(job)}")
            if job.error_code:
                st.caption(failure(job))
        elif job.state == "failed":
            st.error(f"{escaped(job.title)}: {failure(job)}", icon=":material/error:")
            if hint:
                st.markdown(hint)
        else:
            st.markdown(f"{_ICONS[job.state]} **{escaped(job.title)}** · {t(f'jobs.{job.state}')}")
        _buttons(job, removable)


_ICONS = {
    "done": ":material/check_circle:",
    "paused": ":material/pause_circle:",
    "cancelled": ":material/cancel:",
}


def progress_text(job: JobRecord) -> str:
    """How far it is, how fast and how long it will take: `120 of 1,000 · 40/s · 22 s left`."""
    if job.state == "queued":
        return t("jobs.queued")
    parts = [words(language()).get(f"jobs.stage_{job.stage}", "")] if job.stage else []
    if job.total:
        parts.append(t("jobs.progress", done=_amount(job.done, job.unit), total=_amount(job.total, job.unit)))
    elif job.done:
        parts.append(_amount(job.done, job.unit))
    if job.rate:
        parts.append(f"{_amount(job.rate, job.unit)}/s")
    if job.remaining_s is not None:
        parts.append(t("jobs.remaining", time=readable_seconds(job.remaining_s)))
    return " · ".join(filter(None, parts)) or t("jobs.running")


def failure(job: JobRecord) -> str:
    """Why a job failed, in the visitor's language."""
    return explain_code(job.error_code, job.error_values) or job.error_text


def _buttons(job: JobRecord, removable: bool) -> None:
    row = st.container(horizontal=True)

    def button(name: str, icon: str, act: Callable[[str], None]) -> None:
        row.button(t(f"jobs.{name}"), icon=f":material/{icon}:", on_click=act, args=(job.id,), key=f"{name}_{job.id}")

    if job.active:
        if KINDS[job.kind].pausable:
            button("pause", "pause", jobs().pause)
        button("cancel", "close", jobs().cancel)
        return
    if job.state in ("paused", "cancelled"):
        button("resume", "play_arrow", jobs().resume)
    elif job.state == "failed":
        button("retry", "refresh", jobs().resume)
    if removable:
        button("remove", "delete", jobs().remove)
    elif KINDS[job.kind].discard:
        button("discard", "delete", jobs().cancel)


def _amount(count: float, unit: str) -> str:
    """A number as people read it; bytes in their own units."""
    if unit == "bytes":
        return readable_bytes(count)
    return f"{count:,.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"
