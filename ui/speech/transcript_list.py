"""The sidebar's list of transcripts: new, search, open, delete with undo."""

from __future__ import annotations

import streamlit as st

from llm.chat.recordings import growing
from llm.errors import NotFound
from llm.store import Transcript
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.state import kept, owner
from ui.speech.state import DELETED, open_transcript

SHOWN = 30


def transcript_list(shown: Transcript | None) -> None:
    """Draws the list in the sidebar."""
    with st.sidebar:
        st.button(
            t("speech.new"),
            icon=":material/add:",
            width="stretch",
            on_click=open_transcript,
            args=("",),
            key="speech_new",
        )
        query = st.text_input(
            t("speech.search"), placeholder=t("speech.search"), label_visibility="collapsed", key="speech_search"
        )
        _undo_delete()
        limit = st.session_state.get("speech_list_limit", SHOWN)
        page = kept().transcripts.list(query, limit=limit)
        unfinished = growing(owner())
        for item in page.items:
            if item.id not in unfinished:
                _row(item, shown)
        if not page.items:
            st.caption(t("speech.nothing_found") if query else t("speech.none_yet"))
        if page.next:
            st.button(t("speech.more"), type="tertiary", on_click=_more, args=(limit + SHOWN,), key="speech_more")


def _row(item: Transcript, shown: Transcript | None) -> None:
    active = shown is not None and item.id == shown.id
    with st.container(key=f"conversation_{item.id}"):  # the chat's list has the same look
        st.button(
            escaped(item.title),
            key=f"speech_open_{item.id}",
            type="secondary" if active else "tertiary",
            width="stretch",
            on_click=open_transcript,
            args=(item.id,),
        )
        if item.snippet is not None:
            st.caption(escaped(item.snippet.text))


def _more(limit: int) -> None:
    st.session_state["speech_list_limit"] = limit


def _undo_delete() -> None:
    deleted = st.session_state.get(DELETED)
    if deleted:
        st.button(t("speech.restore"), icon=":material/undo:", on_click=_restore, args=(deleted,), key="speech_restore")


def _restore(transcript_id: str) -> None:
    st.session_state.pop(DELETED, None)
    try:
        kept().transcripts.restore(transcript_id)
    except NotFound:  # purged meanwhile
        return
    open_transcript(transcript_id)
