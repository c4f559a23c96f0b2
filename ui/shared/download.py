"""A download as a page shows it, wherever it was begun."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.sources import jobs
from ui.shared.i18n import explain_code, t
from ui.shared.units import readable_bytes, readable_seconds


@st.fragment(run_every=0.7)
def download_progress(entry: ModelEntry) -> None:
    """Bytes, speed and remaining time of a model's download, live; the page runs again when it ends."""
    job = jobs.get(entry.id)
    if job is None or job.state in ("done", "cancelled"):
        st.rerun()
    elif job.state == "failed":
        st.error(failure(job))
        st.markdown(t("download.by_hand", model=entry.name))
        row = st.container(horizontal=True)
        row.button(
            t("download.retry"),
            icon=":material/refresh:",
            on_click=begin_download,
            args=(entry.id,),
            key=f"retry_{entry.id}",
        )
        with row:
            _discard(entry)
    elif job.state == "paused":
        st.info(t("download.paused", model=entry.name))
        row = st.container(horizontal=True)
        row.button(
            t("download.resume"),
            icon=":material/play_arrow:",
            on_click=begin_download,
            args=(entry.id,),
            key=f"resume_{entry.id}",
        )
        with row:
            _discard(entry)
    else:
        total = job.total_bytes or entry.size_bytes
        share = min(1.0, job.done_bytes / total) if total else 0.0
        done, of = readable_bytes(job.done_bytes), readable_bytes(total)
        text = t(f"download.{job.stage}", model=entry.name, done=done, total=of)
        if job.state == "retrying":
            text = t("download.retrying", model=entry.name, attempt=job.attempt)
        elif job.speed_bytes_s:
            text += f" · {readable_bytes(job.speed_bytes_s)}/s"
            if job.remaining_s is not None:
                text += " · " + t("download.remaining", time=readable_seconds(job.remaining_s))
        st.progress(share, text)
        row = st.container(horizontal=True)
        row.button(
            t("download.pause"),
            icon=":material/pause:",
            on_click=jobs.pause,
            args=(entry.id,),
            key=f"pause_{entry.id}",
        )
        row.button(
            t("download.cancel"),
            icon=":material/close:",
            on_click=jobs.cancel,
            args=(entry.id,),
            key=f"cancel_{entry.id}",
        )


def _discard(entry: ModelEntry) -> None:
    st.button(
        t("download.discard"),
        icon=":material/delete:",
        on_click=jobs.cancel,
        args=(entry.id,),
        key=f"discard_{entry.id}",
    )


def begin_download(model_id: str) -> None:
    """Callback: starts or goes on with a download."""
    jobs.start(model_id)


def failure(job: jobs.Job) -> str:
    """Why a download failed, in the visitor's language."""
    return explain_code(job.error_code, job.error_values) or job.error_text
