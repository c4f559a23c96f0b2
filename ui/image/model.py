"""Which model looks at the pictures: one that sees them, or the reader with the chat model of one's choice."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import READER, entries_for, find, reader_entry, where
from llm.errors import ModelError
from llm.machine.hardware import hardware
from llm.planning.recommendation import seeing_model
from ui.image import state
from ui.shared.download import begin_download
from ui.shared.i18n import t
from ui.shared.model_picker import default_model, describe, offer_download, pick_model
from ui.shared.units import readable_bytes

READ = "reader"
_KEY = "image_model_"


def choose_model(current: str) -> ModelEntry | None:
    """Draws the choice, in one row with what stands beside it. Returns the entry to ask, which may not be here yet.

    Args:
        current: the conversation's model; empty for a new one.
    """
    known = {entry.id: entry for entry in _seeing(current)}
    ids = [READ, *known]
    start = (None if current else st.session_state.get(state.MODEL)) or _default(current, known)
    chosen = st.selectbox(
        t("image.model"),
        ids,
        index=ids.index(start) if start in ids else 0,
        format_func=lambda name: t("image.reader") if name == READ else describe(known[name]),
        key=f"{_KEY}{current}",
        label_visibility="collapsed",
    )
    if chosen != start:
        st.session_state[state.MODEL] = chosen
    return _reader(current) if chosen == READ else known[chosen]


def offer_model(entry: ModelEntry) -> None:
    """The way to get what answers: the model that sees, or the one that answers from what was read."""
    if not entry.is_reader:
        offer_download(entry)
    elif any(where(known) for known in entries_for("text-generation")):  # else the page draws the starter's download
        offer_download(find(entry.id.removeprefix(READER)))


def reader_note(current: str) -> None:
    """What an answer from read text can tell and what not, and the way to a model that sees."""
    with st.container(key="image_reader_note"):
        st.caption(t("image.reader_note"))
        _offer_seeing(current)


def stands_in(current: str, entry: ModelEntry) -> bool:
    """Whether the conversation's model is gone and `entry` is only what the page put in its place."""
    try:
        find(current)
    except ModelError:
        default = _default(current, {seeing.id: seeing for seeing in _seeing(current)})
        chat = default_model("text-generation")
        return entry.id == (default if default != READ or chat is None else reader_entry(chat).id)
    return False


def _seeing(current: str) -> list[ModelEntry]:
    """Models that see, those that are here first; also one of the conversation's that is a path."""
    found = sorted(entries_for("image-text-to-text"), key=lambda e: (where(e) is None, e.size_bytes))
    if current and not current.startswith(READER) and all(entry.id != current for entry in found):
        try:
            own = find(current)
        except ModelError:
            return found
        if "image" in own.abilities:
            found.insert(0, own)
    return found


def _default(current: str, known: dict[str, ModelEntry]) -> str:
    if current in known:
        return current
    if current.startswith(READER):
        return READ
    return next((name for name, entry in known.items() if where(entry)), READ)


def _reader(current: str) -> ModelEntry | None:
    last = current.removeprefix(READER) or st.session_state.get(state.CHAT, "")
    chat = pick_model("text-generation", last, key=f"image_chat_{current}")
    if chat is not None and not current:
        st.session_state[state.CHAT] = chat.id
    return reader_entry(chat) if chat is not None else None


def _offer_seeing(current: str) -> None:
    """A button that gets a model which sees and fits this machine; all others are on the Models page."""
    fitting = find(fits) if (fits := _fitting()) else None
    with st.container(horizontal=True, vertical_alignment="center"):
        if fitting is not None:
            size = readable_bytes(fitting.size_bytes)
            st.button(
                t("image.get_seeing", model=fitting.name, size=size),
                icon=":material/download:",
                help=t("image.get_seeing_help"),
                key="image_get_vision",
                on_click=_get,
                args=(fitting.id, f"{_KEY}{current}"),
            )
        else:
            st.caption(t("image.none_fits"))
        if st.button(t("image.other_vision"), type="tertiary", key="image_other_vision"):
            st.switch_page("pages/models.py")


@st.cache_data(ttl=60, show_spinner=False)
def _fitting() -> str:
    """Id of the model to offer, empty where none fits. Estimated anew each minute, since what is free changes."""
    found = seeing_model(hardware())
    return found.id if found else ""


def _get(model_id: str, key: str) -> None:
    """Callback: fetches the model and chooses it, so that the page shows how far it is."""
    st.session_state[state.MODEL] = st.session_state[key] = model_id
    begin_download(model_id)
