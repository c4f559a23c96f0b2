"""Which model does the job: what is known for it, whether it is here and fits, or a folder of the visitor's own."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import entries_for, where
from ui.models.facts import needs_of
from ui.shared.i18n import t
from ui.shared.model_picker import describe, offer_download


def known_models(task: Task) -> list[ModelEntry]:
    """The models for a job, those on this machine first; else as the catalogue has them, the most general first."""
    return sorted(entries_for(task), key=lambda entry: where(entry) is None)


def choose_model(task: Task, key: str, without: str = "") -> ModelEntry | None:
    """Draws the choice. Returns the model when it is here; else what gets it is drawn, and None returned."""
    known = {entry.id: entry for entry in known_models(task) if entry.id != without}
    if not known:
        st.info(t("tasks.model_none"), icon=":material/info:")
        return None
    chosen = st.selectbox(t("tasks.model"), list(known), format_func=lambda model_id: _line(known[model_id]), key=key)
    entry = known[chosen]
    if where(entry) is None:
        offer_download(entry)
        return None
    return entry


def _line(entry: ModelEntry) -> str:
    """`● EfficientNet-Lite0 · 19 MB · zh/en · trained for this job · here`."""
    kind = t("tasks.model_chat") if entry.converses else t("tasks.model_specialist")
    if where(entry) is not None:
        place = t("tasks.model_here")
    else:
        place = t("tasks.model_too_big") if needs_of(entry.id).verdict == "too_big" else t("tasks.model_fits")
    return f"{describe(entry)} · {kind} · {place}"
