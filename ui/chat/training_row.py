"""An answer as a row to learn from: as it is, corrected, or as the better one of two."""

from __future__ import annotations

import streamlit as st

from llm.store import StoredMessage
from ui.finetune.rows import add_row
from ui.shared.i18n import t
from ui.shared.state import kept

SHOWN_LETTERS = 60


def training_row(conversation_id: str, stored: StoredMessage) -> None:
    """Below an answer: its words to be corrected, and kept in the set that is open on the Fine-tune page."""
    if stored.message.role != "assistant" or not stored.message.text.strip():
        return
    with st.popover("", icon=":material/school:", help=t("chat.training_row"), type="tertiary", key=f"row_{stored.id}"):
        st.caption(t("chat.training_row_help"))
        text = st.text_area(t("finetune.answer"), stored.message.text, key=f"row_text_{stored.id}")
        others = [
            one for one in map(kept().message, stored.siblings) if one.id != stored.id and one.message.text.strip()
        ]
        worse = ""
        if others:
            place = st.selectbox(
                t("chat.training_row_better"),
                [None, *range(len(others))],
                format_func=lambda n: t("chat.training_row_alone") if n is None else _short(others[n].message.text),
                key=f"row_worse_{stored.id}",
            )
            worse = others[place].message.text if place is not None else ""
        if st.button(t("chat.training_row_keep"), type="primary", key=f"row_keep_{stored.id}") and text.strip():
            path = [one for one in kept().path(conversation_id) if one.id != stored.id]
            before = [one.message for one in path if one.id < stored.id]
            question = next((message.text for message in reversed(before) if message.role == "user"), "")
            last = max((place for place, message in enumerate(before) if message.role == "user"), default=0)
            corrected = text.strip() != stored.message.text.strip()
            rejected = worse or (stored.message.text if corrected else "")
            data = add_row(question, text.strip(), rejected, tuple(before[:last]))
            st.success(t("chat.training_row_kept", name=data.name, count=len(data.rows)))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_LETTERS else f"{line[:SHOWN_LETTERS]}…"
