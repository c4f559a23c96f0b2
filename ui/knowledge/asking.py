"""Questions to a base: kept in a conversation, answered in the background like the chat's."""

from __future__ import annotations

from collections.abc import Collection, Generator

import streamlit as st

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.chat.answers import Request, answers
from llm.events import Event
from llm.knowledge import answers as answering
from llm.knowledge.library import Library
from llm.knowledge.values import Base
from llm.messages import Message, TextPart
from llm.runtime.protocols import ChatModel
from llm.settings import GenerationSettings
from llm.store import Conversation
from ui.chat.conversation_list import open_conversation
from ui.knowledge.state import EXTRACTIVE
from ui.shared.settings_panel import answer_settings
from ui.shared.state import CHAT_NEW_SETTINGS, kept, owner


def request_of(
    base: Base,
    conversation: Conversation | None,
    entry: ModelEntry,
    off: Collection[int] = (),
    way: answering.Way | None = None,
) -> Request:
    """How a question to a base is answered, whoever looks on meanwhile."""
    asker, base_id, left_out = owner(), base.id, tuple(off)
    chosen: answering.Way = way or ("extractive" if st.session_state.get(EXTRACTIVE) else "written")

    def write(
        model: ChatModel, messages: list[Message], settings: GenerationSettings, cancel: Cancel
    ) -> Generator[Event, None, None]:
        said = [message for message in messages if message.role != "system"]
        question, past = said[-1].text, said[:-1]
        yield from answering.answer(
            Library(asker), base_id, question, model, settings, cancel, past, left_out, chosen
        )  # fmt: skip

    named = entry.id if entry.adapter is not None else entry.path or entry.id
    settings = answer_settings(conversation, entry) if conversation else GenerationSettings()
    return Request(named, settings, write=write)


def ask(base: Base, conversation: Conversation | None, entry: ModelEntry, text: str) -> None:
    """Keeps a question and begins its answer."""
    if conversation is None:
        conversation = kept().create_conversation(
            model=entry.id, settings=st.session_state.pop(CHAT_NEW_SETTINGS, {}), kind="knowledge"
        )
        open_conversation(conversation.id)
    question = Message("user", (TextPart(text),))
    answers().ask(kept(), conversation.id, question, request_of(base, conversation, entry))
