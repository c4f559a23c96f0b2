"""Choosing a model: which there are, how large, which languages, and whether each is here."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import entries_for, starter_id, where
from llm.sources import downloads
from ui.shared.download import begin_download, download_progress
from ui.shared.i18n import language, t
from ui.shared.units import readable_bytes


def default_model(task: Task) -> ModelEntry | None:
    """The model to begin with: the starter when it is here, else any that is here, else the starter all the same."""
    starter = starter_id(task, language())
    known = entries_for(task)
    here = [entry for entry in known if where(entry)]
    return next((e for e in [*here, *known] if e.id == starter), None) if not here else _preferred(here, starter)


def _preferred(here: list[ModelEntry], starter: str) -> ModelEntry:
    return next((entry for entry in here if entry.id == starter), here[0])


def pick_model(task: Task, current: str, key: str) -> ModelEntry | None:
    """A select box over the models of a task. None: there is none."""
    known = sorted(entries_for(task), key=lambda e: (where(e) is None, e.size_bytes))
    if not known:
        return None
    ids = [entry.id for entry in known]
    by_id = {entry.id: entry for entry in known}
    start = current if current in by_id else (default_model(task) or known[0]).id
    chosen = st.selectbox(
        t("picker.label"),
        ids,
        index=ids.index(start),
        format_func=lambda model_id: describe(by_id[model_id]),
        key=key,
        label_visibility="collapsed",
        help=t("picker.help"),
    )
    return by_id[chosen]


def describe(entry: ModelEntry) -> str:
    """One line: here, elsewhere or not yet here; name, size, languages."""
    mark = "⇄" if entry.is_remote else "●" if where(entry) else "○"
    facts = [readable_bytes(entry.size_bytes)] if entry.size_bytes else []
    if entry.languages:
        facts.append("/".join(entry.languages[:3]))
    return f"{mark} {entry.name} · {' · '.join(facts)}" if facts else f"{mark} {entry.name}"


def offer_download(entry: ModelEntry) -> None:
    """A button that fetches a model which is not here, or how far its download is; nothing for one that is."""
    if where(entry) is not None:
        return
    job = downloads.get(entry.id)
    if job is not None and job.state != "done" and job.state != "cancelled":
        download_progress(entry)
        return
    if not entry.sources:
        st.warning(t("picker.no_source", model=entry.name))
        return
    label = t("picker.get", size=readable_bytes(entry.size_bytes)) if entry.size_bytes else t("picker.get_unsized")
    st.button(label, icon=":material/download:", on_click=begin_download, args=(entry.id,), key=f"get_{entry.id}")
