"""The sidebar's list of conversations: by day, pinned on top, new, search, delete with undo, export, import."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from itertools import groupby
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from llm.errors import ModelError
from llm.store import Conversation, Kind
from ui.shared.i18n import explain, t
from ui.shared.markdown import escaped
from ui.shared.state import CHAT_CONVERSATION, CHAT_DELETED, CHAT_EDITING, CHAT_PROBLEM, kept

SHOWN = 30
EVERY_ONE = 1_000_000


def current_conversation(kind: Kind = "chat") -> Conversation | None:
    """The conversation that the page shows: the session's, or after a reload the one that the address names.

    kind: the page's; each page shows its own conversations.
    """
    conversation_id = st.session_state.get(CHAT_CONVERSATION, st.query_params.get("c", ""))
    if conversation_id:
        try:
            conversation = kept().conversation(conversation_id)
        except ModelError:
            conversation = None
        shown_here = conversation is not None and conversation.kind == kind
        if conversation is not None and shown_here and conversation.deleted_at is None:
            st.session_state[CHAT_CONVERSATION] = conversation.id
            st.query_params["c"] = conversation.id
            return conversation
    st.query_params.pop("c", None)
    return None


def open_conversation(conversation_id: str) -> None:
    """Callback: shows a conversation; an empty id is a new one."""
    st.session_state[CHAT_CONVERSATION] = conversation_id
    st.session_state.pop(CHAT_EDITING, None)
    st.session_state.pop("chat_show_all", None)


def conversation_list(shown: Conversation | None, kind: Kind = "chat") -> None:
    """Draws the list of the page's conversations in the sidebar."""
    with st.sidebar:
        st.button(
            t("chat.new"),
            icon=":material/add:",
            width="stretch",
            on_click=open_conversation,
            args=("",),
            key="new_chat",
        )
        query = st.text_input(
            t("chat.search"), placeholder=t("chat.search"), label_visibility="collapsed", key="chat_search"
        )
        _undo()
        limit = st.session_state.get("chat_list_limit", SHOWN)
        found = kept().list(query, limit, kind=kind)
        if query:
            for conversation in found.items:
                _row(conversation, shown)
        else:
            _by_day(kept().pinned(kind), [each for each in found.items if not each.pinned], shown)
        if not found.items:
            st.caption(t("chat.nothing_found") if query else t("chat.no_conversations"))
        if found.next is not None:
            st.button(t("chat.more_conversations"), type="tertiary", on_click=_more, args=(limit + SHOWN,))
        _import(kind)


def _by_day(pinned: list[Conversation], others: list[Conversation], shown: Conversation | None) -> None:
    """The pinned ones, then each day's under its name, newest first."""
    if pinned:
        st.caption(t("chat.pinned"))
    for conversation in pinned:
        _row(conversation, shown)
    zone = _visitors_zone()
    today = datetime.now(zone).date()

    def span(conversation: Conversation) -> str:
        day = conversation.updated_at.astimezone(zone).date()
        if day >= today:
            return t("chat.today")
        if day == today - timedelta(days=1):
            return t("chat.yesterday")
        if day > today - timedelta(days=7):
            return t("chat.this_week")
        return f"{day:%Y-%m}"

    for words, group in groupby(others, key=span):
        st.caption(words)
        for conversation in group:
            _row(conversation, shown)


def _visitors_zone() -> tzinfo | None:
    """The browser's time zone; None, the server's own, where it is not known."""
    try:
        return ZoneInfo(st.context.timezone or "")
    except (ValueError, ZoneInfoNotFoundError):
        return None


def _row(conversation: Conversation, shown: Conversation | None) -> None:
    active = shown is not None and conversation.id == shown.id
    with st.container(key=f"conversation_{conversation.id}"):
        st.button(
            escaped(conversation.title) or t("chat.untitled"),
            key=f"open_{conversation.id}",
            type="secondary" if active else "tertiary",
            width="stretch",
            on_click=open_conversation,
            args=(conversation.id,),
        )
        if conversation.snippet is not None and conversation.snippet.message_id is not None:
            st.caption(escaped(conversation.snippet.text))


def _more(limit: int) -> None:
    st.session_state["chat_list_limit"] = limit


def conversation_menu(conversation: Conversation) -> None:
    """Rename, export and delete the conversation that is shown."""
    with st.popover("", icon=":material/more_horiz:", help=t("chat.menu"), key="chat_menu"):
        key = f"title_{conversation.id}"
        st.text_input(t("chat.title"), conversation.title, key=key, on_change=_rename, args=(conversation.id, key))
        st.toggle(
            t("chat.pin"), conversation.pinned, key=f"pin_{conversation.id}", on_change=_pin, args=(conversation.id,)
        )
        names = {"user": t("chat.you"), "assistant": t("chat.model"), "system": t("chat.system")}
        st.download_button(
            t("chat.export_markdown"),
            lambda: kept().export_markdown(conversation.id, names),
            file_name=f"{_file_name(conversation)}.md",
            mime="text/markdown",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            t("chat.export_json"),
            lambda: kept().export_json([conversation.id]),
            file_name=f"{_file_name(conversation)}.json",
            mime="application/json",
            icon=":material/data_object:",
            on_click="ignore",
            width="stretch",
        )
        st.button(
            t("chat.delete"),
            icon=":material/delete:",
            width="stretch",
            on_click=_delete,
            args=(conversation.id,),
            key="delete_conversation",
        )


def _file_name(conversation: Conversation) -> str:
    safe = "".join(char if char.isalnum() else "-" for char in conversation.title)[:40].strip("-")
    return safe or "conversation"


def _rename(conversation_id: str, key: str) -> None:
    if title := st.session_state[key].strip():
        kept().rename(conversation_id, title)


def _pin(conversation_id: str) -> None:
    kept().update(conversation_id, pinned=st.session_state[f"pin_{conversation_id}"])


def _delete(conversation_id: str) -> None:
    kept().delete(conversation_id)
    st.session_state[CHAT_DELETED] = conversation_id
    open_conversation("")


def _undo() -> None:
    deleted = st.session_state.get(CHAT_DELETED)
    if deleted:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(t("chat.deleted"), width="content")
            st.button(t("chat.undo"), key="undo_delete", on_click=_restore, args=(deleted,))


def _restore(conversation_id: str) -> None:
    kept().restore(conversation_id)
    st.session_state.pop(CHAT_DELETED, None)
    open_conversation(conversation_id)


def _import(kind: Kind) -> None:
    with st.expander(t("chat.import_export"), icon=":material/swap_vert:"):
        st.download_button(
            t("chat.export_all"),
            lambda: kept().export_json([each.id for each in kept().list(limit=EVERY_ONE, kind=kind).items]),
            file_name=f"hearth-{kind}.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
            key="export_all",
        )
        st.file_uploader(
            t("chat.import_help"), type="json", key="import_file", label_visibility="collapsed", on_change=_take_import
        )


def _take_import() -> None:
    uploaded = st.session_state["import_file"]
    if uploaded is None:
        return
    try:
        imported = kept().import_json(uploaded.getvalue())
    except ModelError as error:
        st.session_state[CHAT_PROBLEM] = explain(error)
        return
    if imported:
        open_conversation(imported[0])
