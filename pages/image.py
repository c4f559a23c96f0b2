"""Questions about pictures: a conversation with a model that sees, or with one that gets the text in them to read."""

from __future__ import annotations

from contextlib import nullcontext

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.chat.answers import Request, answers
from llm.messages import ImagePart, Message, Part, TextPart
from llm.store import Conversation, StoredMessage
from llm.vision.picture import EXTENSIONS, MAX_BYTES, problem_of
from ui.chat.conversation_list import conversation_list, conversation_menu, current_conversation, open_conversation
from ui.chat.system_prompt import system_prompt_editor
from ui.chat.view import Actions, path_and_answer, show_path, stop_button, watch
from ui.chat.waiting import waiting_questions
from ui.image import state
from ui.image.answer import found_in
from ui.image.model import choose_model, offer_model, reader_note, stands_in
from ui.image.tray import crop_panel, inputs, ready_made, tray
from ui.shared.draft import keep_draft
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.settings_panel import answer_settings, conversation_settings
from ui.shared.starter import fetch_starter
from ui.shared.state import CHAT_NEW_SETTINGS, CHAT_NEW_SYSTEM, UNDER_HOOD, kept

MODES = ("ask", "table", "captions")


def page() -> None:
    conversation = current_conversation("image")
    conversation_list(conversation, "image")
    mode = st.segmented_control(
        t("image.mode"),
        MODES,
        default=None if state.MODE in st.session_state else "ask",
        key=state.MODE,
        required=True,
        format_func=lambda name: t(f"image.mode_{name}"),
        label_visibility="collapsed",
    )
    if mode == "captions":
        from ui.image.captions import captions

        captions()
        return
    entry = _header(conversation if mode == "ask" else None, asking=mode == "ask")
    # Whoever has a model that sees needs no chat model for it.
    with st.container():
        fetching = (entry is None or entry.is_reader) and fetch_starter("text-generation")
    if mode == "table":
        from ui.image.table import table

        table(entry)
        if entry is None or entry.is_reader:
            reader_note("")
        return
    _ask_mode(conversation, None if fetching else entry)


def _header(conversation: Conversation | None, asking: bool) -> ModelEntry | None:
    """The model, and for a conversation its settings, system prompt and menu. Returns the chosen model."""
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        entry = choose_model(conversation.model if conversation else "")
        if entry is not None and conversation is not None and entry.id != conversation.model:
            _keep_choice(conversation, entry)
        if entry is not None and asking:
            with st.popover("", icon=":material/tune:", help=t("settings.title"), key="settings"):
                conversation_settings(conversation, entry)
        if asking:
            with st.popover("", icon=":material/theater_comedy:", help=t("system.title"), key="system"):
                system_prompt_editor(conversation)
        if conversation is not None:
            conversation_menu(conversation)
        st.toggle(t("hood.title"), key=UNDER_HOOD, help=t("hood.help"), width="content")
    with st.container():
        if entry is not None:
            offer_model(entry)
    return entry


def _keep_choice(conversation: Conversation, entry: ModelEntry) -> None:
    """Keeps the chosen model with the conversation; one that only stands in for a model that is gone is said."""
    if conversation.model and stands_in(conversation.model, entry):
        st.caption(t("chat.model_gone", model=escaped(conversation.model), instead=escaped(entry.name)))
    else:
        kept().update(conversation.id, model=entry.id)


def _ask_mode(conversation: Conversation | None, entry: ModelEntry | None) -> None:
    # Each part has its place from the start: what is gone must not stand there until an answer's run has ended.
    head, talk, writing, adding = (st.container() for _ in range(4))
    asking, note = st.empty(), st.empty()
    path, answer = path_and_answer(conversation)
    with head:
        state.show_problems()
        if conversation is not None:
            waiting_questions(conversation, _request(conversation, entry) if entry is not None else None)
        if answer is not None:
            stop_button(answer)
    with talk:
        if not path:
            st.title(t("image.welcome"), anchor=False)
            st.markdown(t("image.welcome_text"))
        show_path(path, _actions(conversation, entry, path))
    ready = entry is not None and where(entry) is not None
    with adding:
        inputs(open_first=not path)
        tray()
        if entry is not None and ready and state.waiting():
            ready_made(_ask, conversation, entry)
        said = [part for stored in path for part in stored.message.images if problem_of(part) is None]
        crop_panel([picture.part for picture in state.waiting()] + said[::-1])
    if entry is not None and ready:
        # At the window's bottom it keeps the page scrolled down, which would hide where a first visit begins.
        with asking.container() if not path else nullcontext():
            _input(conversation, entry)
    if not path and (entry is None or entry.is_reader):
        with note.container():
            reader_note(conversation.model if conversation else "")
    if answer is not None:  # last, because it takes as long as the answer: what stands below it is there by then
        with writing:
            watch(answer)


def _input(conversation: Conversation | None, entry: ModelEntry) -> None:
    st.chat_input(
        t("image.placeholder"),
        key="image_input",
        accept_file="multiple",
        file_type=EXTENSIONS,
        max_upload_size=MAX_BYTES >> 20,
        on_submit=_ask_typed,
        args=(conversation, entry),
    )
    keep_draft(conversation.id if conversation else "image")


def _request(conversation: Conversation, entry: ModelEntry) -> Request:
    return Request(entry.id, answer_settings(conversation, entry))


def _ask_typed(conversation: Conversation | None, entry: ModelEntry) -> None:
    """Callback of the input: the files that came with the question join those that wait."""
    value = st.session_state["image_input"]
    state.add((file.name, file.getvalue()) for file in value.files)
    if st.session_state.get(state.PROBLEMS):
        return  # what could be taken in goes on waiting
    _ask(conversation, entry, value.text)


def _ask(conversation: Conversation | None, entry: ModelEntry, words: str) -> None:
    """Keeps the question with its pictures and begins the answer."""
    if not words.strip() and not state.waiting():
        state.tell(t("errors.empty_message"))
        return
    pictures = state.take_waiting()
    parts: tuple[Part, ...] = (*pictures, TextPart(words if words.strip() else t("image.ask_describe")))
    if conversation is None:
        conversation = kept().create_conversation(
            model=entry.id,
            system_prompt=st.session_state.pop(CHAT_NEW_SYSTEM, ""),
            settings=st.session_state.pop(CHAT_NEW_SETTINGS, {}),
            kind="image",
        )
        open_conversation(conversation.id)
    answers().ask(kept(), conversation.id, Message("user", parts), _request(conversation, entry))


def _actions(conversation: Conversation | None, entry: ModelEntry | None, path: list[StoredMessage]) -> Actions:
    def regenerate(stored: StoredMessage) -> None:
        if conversation and entry and stored.parent_id is not None:
            answers().ask(kept(), conversation.id, None, _request(conversation, entry), stored.parent_id)

    def edit(stored: StoredMessage, text: str) -> None:
        others = tuple(part for part in stored.message.parts if not isinstance(part, TextPart))
        if not text.strip() and not any(isinstance(part, ImagePart) for part in others):
            state.tell(t("errors.empty_message"))
        elif conversation and entry:
            parts: tuple[Part, ...] = (*others, TextPart(text or t("image.ask_describe")))
            question = Message("user", parts)
            answers().ask(kept(), conversation.id, question, _request(conversation, entry), stored.parent_id)

    def below(stored: StoredMessage) -> None:
        found_in(stored, state.pictures_before(path, stored.id))

    return Actions(regenerate, edit, below)


page()
