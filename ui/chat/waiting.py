"""The questions that wait for the answer before them: said while they wait, each with a way to take it back."""

from __future__ import annotations

import streamlit as st

from llm.chat.answers import Request, answers
from llm.messages import TextPart
from llm.store import Conversation, WaitingQuestion
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.state import kept

SHOWN_CHARACTERS = 80


def waiting_questions(conversation: Conversation, request: Request | None) -> None:
    """Draws the queue.

    Args:
        request: how to ask what waited when the app was closed; None: no model is there to ask.
    """
    waiting = kept().waiting(conversation.id)
    if waiting and request is not None:
        answers().go_on(kept(), conversation.id, request)
        waiting = kept().waiting(conversation.id)
    for question in waiting:
        with st.container(horizontal=True, vertical_alignment="center", key=f"waiting_{question.id}"):
            st.caption(t("chat.queued", question=escaped(_words(question))))
            st.button(
                t("chat.unqueue"),
                icon=":material/close:",
                type="tertiary",
                key=f"unqueue_{question.id}",
                on_click=_withdraw,
                args=(conversation.id, question.id),
            )


def _words(question: WaitingQuestion) -> str:
    if question.message is None:
        return t("chat.regenerate")
    said = " ".join(part.text for part in question.message.parts if isinstance(part, TextPart)).strip()
    names = ", ".join(str(getattr(part, "name", "")) for part in question.message.parts)
    return (said or names.strip(", "))[:SHOWN_CHARACTERS]


def _withdraw(conversation_id: str, waiting_id: int) -> None:
    """Callback: the waiting question is not to be asked."""
    kept().withdraw(conversation_id, waiting_id)
