"""Runs: all of them, and one with its course, its results and what it leaves with."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from llm.finetune.run import Run, all_runs, remove_run
from llm.finetune.start import job_of
from ui.finetune.live import course
from ui.finetune.results import results
from ui.finetune.state import open_run
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.state import owner


def runs_section() -> None:
    """Every run of this visitor, the newest first."""
    runs = all_runs(owner())
    if not runs:
        st.info(t("finetune.no_runs"), icon=":material/info:")
    for run in runs:
        _line(run)


def _line(run: Run) -> None:
    asked, job = run.config, job_of(run)
    state = job.state if job is not None else "done" if run.checkpoints else "cancelled"
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"run_{run.id}"):
        st.markdown(f"**{escaped(asked.name)}** · {t(f'jobs.{state}')}", width="stretch")
        when = datetime.fromtimestamp(asked.created_at).strftime("%Y-%m-%d %H:%M")
        st.caption(f"{escaped(asked.base)} · {t('finetune.rows_count', count=asked.rows)} · {when}")
        st.button(t("finetune.open"), key=f"open_{run.id}", on_click=open_run, args=(run.id,))


def one_run(run: Run) -> None:
    """A run's own view."""
    asked, job = run.config, job_of(run)
    st.button(
        t("finetune.back"), icon=":material/arrow_back:", type="tertiary", on_click=open_run, args=("",), key="run_back"
    )
    st.title(escaped(asked.name), anchor=False)
    rows = t("finetune.rows_count", count=asked.rows)
    held = t("finetune.held_out_count", count=asked.held_out)
    st.caption(f"{escaped(asked.base)} · {t(f'finetune.method_{asked.settings.method}')} · {rows} · {held}")
    active = job is not None and job.active
    st.fragment(course, run_every=2.0 if active else None)(run.id)
    if run.checkpoints and not active:
        results(run)
    if not active:
        with st.expander(t("finetune.more")):
            st.json(asked.to_dict(), expanded=1)
            st.button(
                t("finetune.delete_run"), icon=":material/delete:", key="delete_run", on_click=_delete, args=(run.id,)
            )


def _delete(run_id: str) -> None:
    """Callback: the run with its checkpoints goes; adapters that were kept stay."""
    remove_run(run_id, owner())
    open_run("")
