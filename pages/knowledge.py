"""Knowledge: questions to one's own documents."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.chat.answers import answers
from llm.knowledge.answers import Way
from llm.knowledge.values import Base
from llm.messages import Message, TextPart
from llm.store import Conversation, StoredMessage
from ui.chat.conversation_list import conversation_list, conversation_menu, current_conversation
from ui.chat.view import Actions, path_and_answer, show_path, stop_button, watch
from ui.chat.waiting import waiting_questions
from ui.knowledge.asking import ask, request_of
from ui.knowledge.bases import base_row, first_base
from ui.knowledge.documents import documents_section
from ui.knowledge.drawing import STYLE
from ui.knowledge.evidence import evidence, marked_words
from ui.knowledge.finding import search_section
from ui.knowledge.state import EXTRACTIVE, library
from ui.shared.i18n import t
from ui.shared.model_picker import offer_download, pick_model
from ui.shared.sections import sections
from ui.shared.settings_panel import conversation_settings
from ui.shared.starter import fetch_starter
from ui.shared.state import CHAT_NEW_MODEL, UNDER_HOOD, kept


def page() -> None:
    st.html(STYLE)
    conversation = current_conversation("knowledge")
    conversation_list(conversation, "knowledge")
    base = base_row()
    if base is None:
        st.title(t("knowledge.title"), anchor=False)
        st.markdown(t("knowledge.intro"))
        first_base()
        return
    drawn: dict[str, Callable[[], None]] = {
        "ask": partial(_ask_section, base, conversation),
        "documents": partial(documents_section, base),
        "search": partial(search_section, base),
    }
    if not library().documents(base.id):  # what has to be done first stands first
        drawn = {"documents": drawn["documents"], "ask": drawn["ask"], "search": drawn["search"]}
    sections("knowledge", drawn)


def _ask_section(base: Base, conversation: Conversation | None) -> None:
    fetching = fetch_starter("text-generation")
    entry = _header(conversation)
    if entry is None:
        return
    if not fetching:
        offer_download(entry)
    request = request_of(base, conversation, entry)
    if conversation is not None:
        waiting_questions(conversation, request)
    path, answer = path_and_answer(conversation)
    if answer is not None:
        stop_button(answer)
    st.chat_input(
        t("knowledge.placeholder"), key="knowledge_input", on_submit=_submitted, args=(base, conversation, entry)
    )
    if not path and answer is None:
        st.title(t("knowledge.welcome"), anchor=False)
        st.markdown(t("knowledge.intro"))
        if not any(document.state == "ready" for document in library().documents(base.id)):
            st.info(t("knowledge.not_ready"), icon=":material/hourglass_top:")
    show_path(path, _actions(base, conversation, entry))
    if answer is not None:
        watch(answer)


def _header(conversation: Conversation | None) -> ModelEntry | None:
    scope = conversation.id if conversation else "new"
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        current = conversation.model if conversation else st.session_state.get(CHAT_NEW_MODEL, "")
        entry = pick_model("text-generation", current, key=f"knowledge_model_{scope}")
        if entry is not None:
            if conversation is None:
                st.session_state[CHAT_NEW_MODEL] = entry.id
            elif entry.id != conversation.model and where(entry):
                kept().update(conversation.id, model=entry.id)
            with st.popover("", icon=":material/tune:", help=t("settings.title"), key="settings"):
                st.toggle(t("knowledge.extractive"), key=EXTRACTIVE, help=t("knowledge.extractive_help"))
                conversation_settings(conversation, entry)
        if conversation is not None:
            conversation_menu(conversation)
        st.toggle(t("hood.title"), key=UNDER_HOOD, help=t("hood.help"), width="content")
    return entry


def _submitted(base: Base, conversation: Conversation | None, entry: ModelEntry) -> None:
    """Callback of the input."""
    text = st.session_state["knowledge_input"]
    if text and text.strip():
        ask(base, conversation, entry, text)


def _actions(base: Base, conversation: Conversation | None, entry: ModelEntry) -> Actions:
    def again(stored: StoredMessage, off: Collection[int] = (), way: Way | None = None) -> None:
        if conversation and stored.parent_id is not None:
            request = request_of(base, conversation, entry, off, way)
            answers().ask(kept(), conversation.id, None, request, stored.parent_id)

    def edit(stored: StoredMessage, text: str) -> None:
        if conversation and text.strip():
            question = Message("user", (TextPart(text),))
            request = request_of(base, conversation, entry)
            answers().ask(kept(), conversation.id, question, request, stored.parent_id)

    def below(stored: StoredMessage) -> None:
        if stored.message.role == "assistant":
            evidence(stored, again)

    return Actions(again, edit, below, marked_words)


page()
