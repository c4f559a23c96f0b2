"""Which model does the job: what is known for it, a chat model in its place, or a folder of the visitor's own."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import entries_for, find, where
from llm.errors import ModelError
from llm.tasks.by_chat import can_do
from llm.tasks.registry import spec_of
from llm.tasks.running import COMFORTABLE_PARAMETERS, entry_for
from ui.models.facts import needs_of
from ui.shared.i18n import explain, t
from ui.shared.model_picker import describe, offer_download

_FOLDER = "folder:"


def known_models(task: Task) -> list[ModelEntry]:
    """The models for a job: those trained for it, then chat models; of each, those on this machine first."""
    chats = [entry for entry in entries_for("text-generation") if can_do(task, entry)]
    chats.sort(key=lambda entry: -_worth(entry))
    specialists = sorted(entries_for(task), key=lambda entry: where(entry) is None)
    return sorted([*specialists, *chats], key=lambda entry: (where(entry) is None, entry.converses))


def _worth(entry: ModelEntry) -> int:
    """Chat models get better with their size, as long as they answer at once."""
    return entry.parameters if entry.parameters <= COMFORTABLE_PARAMETERS else -entry.parameters


def choose_model(task: Task, key: str, without: str = "") -> ModelEntry | None:
    """Draws the choice. Returns the model when it is here; else what gets it is drawn, and None returned."""
    known = {entry.id: entry for entry in known_models(task) if entry.id != without}
    if not known:
        st.info(t("tasks.model_none"), icon=":material/info:")
    chosen = st.selectbox(
        t("tasks.model"),
        [*known, _FOLDER],
        format_func=lambda model_id: _line(known[model_id]) if model_id in known else t("tasks.other_model"),
        key=key,
    )
    entry = _of_folder(task, key) if chosen == _FOLDER else known[chosen]
    if entry is None:
        return None
    if where(entry) is None:
        offer_download(entry)
        return None
    return entry


def _of_folder(task: Task, key: str) -> ModelEntry | None:
    """The model in a folder that the visitor names; what it is for is told by its files."""
    folder = st.text_input(t("tasks.folder"), key=f"{key}_folder", help=t("tasks.other_model_help")).strip()
    if not folder:
        return None
    try:
        return entry_for(spec_of(task), find(folder))
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return None


def _line(entry: ModelEntry) -> str:
    """`● EfficientNet-Lite0 · 19 MB · zh/en · trained for this job · here`."""
    kind = t("tasks.model_chat") if entry.converses else t("tasks.model_specialist")
    if where(entry) is not None:
        place = t("tasks.model_here")
    else:
        place = t("tasks.model_too_big") if needs_of(entry.id).verdict == "too_big" else t("tasks.model_fits")
    return f"{describe(entry)} · {kind} · {place}"
