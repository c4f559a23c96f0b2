"""The chat: a conversation with a model that runs here."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import entries_for
from llm.chat.answers import Request, answers
from llm.messages import DocumentPart, Message, Part, TextPart
from llm.store import Conversation, StoredMessage
from ui.chat.conversation_list import conversation_list, conversation_menu, current_conversation, open_conversation
from ui.chat.documents import Asked, attached_documents, read_files
from ui.chat.system_prompt import system_prompt_editor
from ui.chat.training_row import training_row
from ui.chat.view import Actions, path_and_answer, show_path, stop_button, watch
from ui.chat.waiting import waiting_questions
from ui.shared import state
from ui.shared.draft import keep_draft
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.model_picker import default_model, offer_download, pick_model
from ui.shared.settings_panel import answer_settings, conversation_settings
from ui.shared.starter import fetch_starter
from ui.shared.state import kept


def page() -> None:
    conversation = current_conversation()
    conversation_list(conversation)
    fetching = fetch_starter("text-generation")
    entry = _header(conversation)
    if entry is not None and not fetching:
        offer_download(entry)
    if entry is not None:
        read_files(lambda text, documents: _ask(conversation, entry, text, documents))
    if problem := st.session_state.pop(state.CHAT_PROBLEM, None):
        st.error(problem, icon=":material/error:")
    if conversation is not None:
        waiting_questions(conversation, _request(conversation, entry) if entry is not None else None)
    path, answer = path_and_answer(conversation)
    if answer is not None:
        stop_button(answer)
    if entry is not None:
        attached_documents()
        st.chat_input(
            t("chat.placeholder"),
            key="chat_input",
            accept_file="multiple",
            on_submit=_submitted,
            args=(conversation, entry),
        )
        keep_draft(conversation.id if conversation else "chat")
    if not path and answer is None:
        _welcome(entry)
    show_path(path, _actions(conversation, entry))
    if answer is not None:
        watch(answer)


def _header(conversation: Conversation | None) -> ModelEntry | None:
    """Model, settings, system prompt and menu in one row. Returns the chosen model."""
    scope = conversation.id if conversation else "new"
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        current = conversation.model if conversation else st.session_state.get(state.CHAT_NEW_MODEL, "")
        entry = pick_model("text-generation", current, key=f"model_{scope}")
        if entry is not None:
            _keep_choice(conversation, entry)
            with st.popover("", icon=":material/tune:", help=t("settings.title"), key="settings"):
                conversation_settings(conversation, entry)
        with st.popover("", icon=":material/theater_comedy:", help=t("system.title"), key="system"):
            system_prompt_editor(conversation)
        if conversation is not None:
            conversation_menu(conversation)
        st.toggle(t("hood.title"), key=state.UNDER_HOOD, help=t("hood.help"), width="content")
    return entry


def _keep_choice(conversation: Conversation | None, entry: ModelEntry) -> None:
    if conversation is None:
        st.session_state[state.CHAT_NEW_MODEL] = entry.id
    elif entry.id != conversation.model and not _replaced(conversation, entry):
        kept().update(conversation.id, model=entry.id)


def _replaced(conversation: Conversation, entry: ModelEntry) -> bool:
    """Whether the conversation's model is gone and another stands in for it, which is said and not kept."""
    known = {known.id for known in entries_for("text-generation")}
    instead = default_model("text-generation")
    if not conversation.model or conversation.model in known or instead is None or entry.id != instead.id:
        return False
    st.caption(t("chat.model_gone", model=escaped(conversation.model), instead=escaped(entry.name)))
    return True


def _request(conversation: Conversation, entry: ModelEntry) -> Request:
    named = entry.id if entry.adapter is not None else entry.path or entry.id
    return Request(named, answer_settings(conversation, entry))


def _submitted(conversation: Conversation | None, entry: ModelEntry) -> None:
    """Callback of the input: files are read first, in the page's run, which can show how far that is."""
    value = st.session_state["chat_input"]
    if value.files:
        files = tuple((file.name, file.getvalue()) for file in value.files)
        st.session_state[state.CHAT_READING] = Asked(value.text, files)
    elif value.text.strip() or st.session_state.get(state.CHAT_ATTACHMENTS):
        _ask(conversation, entry, value.text, st.session_state.pop(state.CHAT_ATTACHMENTS, []))
    else:
        st.session_state[state.CHAT_PROBLEM] = t("errors.empty_message")


def _ask(conversation: Conversation | None, entry: ModelEntry, text: str, documents: Sequence[DocumentPart]) -> None:
    """Keeps the question and begins the answer."""
    if conversation is None:
        conversation = kept().create_conversation(
            model=entry.id,
            system_prompt=st.session_state.pop(state.CHAT_NEW_SYSTEM, ""),
            settings=st.session_state.pop(state.CHAT_NEW_SETTINGS, {}),
        )
        open_conversation(conversation.id)
    parts: list[Part] = [*documents, TextPart(text)] if text.strip() else [*documents]
    answers().ask(kept(), conversation.id, Message("user", tuple(parts)), _request(conversation, entry))


def _actions(conversation: Conversation | None, entry: ModelEntry | None) -> Actions:
    def regenerate(stored: StoredMessage) -> None:
        if conversation and entry and stored.parent_id is not None:
            answers().ask(kept(), conversation.id, None, _request(conversation, entry), stored.parent_id)

    def edit(stored: StoredMessage, text: str) -> None:
        documents = [part for part in stored.message.parts if isinstance(part, DocumentPart)]
        if not text.strip() and not documents:
            st.session_state[state.CHAT_PROBLEM] = t("errors.empty_message")
        elif conversation and entry:
            parts: tuple[Part, ...] = (*documents, TextPart(text))
            question = Message("user", parts)
            answers().ask(kept(), conversation.id, question, _request(conversation, entry), stored.parent_id)

    def below(stored: StoredMessage) -> None:
        if conversation:
            training_row(conversation.id, stored)

    return Actions(regenerate, edit, below)


def _welcome(entry: ModelEntry | None) -> None:
    st.title(t("chat.welcome"), anchor=False)
    if entry is not None and entry.is_remote:
        st.markdown(t("chat.welcome_remote", server=escaped(urlsplit(entry.base_url).netloc)))
    else:
        st.markdown(t("chat.welcome_text"))


page()
