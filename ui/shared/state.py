"""What a visitor's session remembers: every key of `st.session_state` that pages share, declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from llm.store import Store

LANGUAGE = "app.language"
OWNER = "app.owner"
CHAT_CONVERSATION = "chat.conversation"
CHAT_EDITING = "chat.editing"
CHAT_DELETED = "chat.deleted"
CHAT_NEW_SETTINGS = "chat.new_settings"
CHAT_NEW_MODEL = "chat.new_model"
CHAT_NEW_SYSTEM = "chat.new_system"
CHAT_ATTACHMENTS = "chat.attachments"
CHAT_READING = "chat.reading"
"""`ui.chat.documents.Asked`: a question whose files are being read."""
CHAT_PROBLEM = "chat.problem"
UNDER_HOOD = "app.under_hood"


def kept() -> Store:
    """The store as this visitor sees it. Without a login everybody at this machine is one person."""
    from llm.store import store  # the database's libraries take half a second, which Home need not wait for

    return store(owner())


def owner() -> str:
    """Who is visiting: the login, or everybody at this machine."""
    return str(st.session_state.get(OWNER, "local"))
