"""The system prompt of a conversation, and named ones to choose from."""

from __future__ import annotations

import streamlit as st

from llm.store import Conversation
from ui.shared.i18n import t
from ui.shared.state import CHAT_NEW_SYSTEM, kept


def system_prompt_editor(conversation: Conversation | None) -> None:
    """A text area, the list of presets, and a way to keep the text as one."""
    scope = conversation.id if conversation else "new"
    key = f"system_prompt_{scope}"
    text = conversation.system_prompt if conversation else st.session_state.get(CHAT_NEW_SYSTEM, "")
    presets = {preset.name: preset for preset in kept().presets.list()}

    def save() -> None:
        _save(conversation, st.session_state[key])

    def choose() -> None:
        chosen = st.session_state[f"preset_{scope}"]
        if chosen:
            st.session_state[key] = presets[chosen].text
            save()

    def keep() -> None:
        name = st.session_state[f"preset_name_{scope}"].strip()
        if name and st.session_state[key].strip():
            kept().presets.save(name, st.session_state[key])
            st.session_state[f"preset_name_{scope}"] = ""

    if presets:
        st.selectbox(t("system.presets"), list(presets), index=None, key=f"preset_{scope}", on_change=choose)
    st.session_state.setdefault(key, text)
    st.text_area(t("system.title"), key=key, height=140, placeholder=t("system.placeholder"), on_change=save)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(t("system.preset_name"), key=f"preset_name_{scope}")
        st.button(t("system.keep"), on_click=keep, key=f"keep_preset_{scope}")
    chosen = st.session_state.get(f"preset_{scope}")
    if chosen in presets:
        st.button(
            t("system.delete", name=chosen),
            icon=":material/delete:",
            key=f"delete_preset_{scope}",
            on_click=_forget,
            args=(presets[chosen].id,),
        )


def _forget(preset_id: int) -> None:
    kept().presets.delete(preset_id)


def _save(conversation: Conversation | None, text: str) -> None:
    if conversation is not None:
        kept().update(conversation.id, system_prompt=text)
    else:
        st.session_state[CHAT_NEW_SYSTEM] = text
