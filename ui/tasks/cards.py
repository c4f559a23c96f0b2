"""The jobs as cards: what each is called, what comes out of it, what the tutorials call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from llm.catalogue.entry import Task
from ui.shared.i18n import t
from ui.tasks.state import open_job


@dataclass(frozen=True, slots=True)
class Card:
    """icon: a Material symbol. old_name: what `pipeline()` calls it. page: where Hearth does it, if not here."""

    icon: str
    old_name: str
    page: str = ""


GROUPS: Mapping[str, Mapping[Task, Card]] = {
    "text": {
        "text-classification": Card("thumbs_up_down", "sentiment-analysis"),
        "token-classification": Card("person_pin_circle", "ner"),
        "question-answering": Card("quiz", "question-answering"),
        "fill-mask": Card("space_bar", "fill-mask"),
        "summarization": Card("short_text", "summarization"),
        "translation": Card("translate", "translation"),
        "text-generation": Card("edit_note", "text-generation", "pages/chat.py"),
    },
    "image": {
        "image-classification": Card("image_search", "image-classification"),
        "object-detection": Card("select_all", "object-detection"),
        "image-segmentation": Card("content_cut", "image-segmentation"),
        "visual-question-answering": Card("contact_support", "vqa", "pages/image.py"),
    },
    "audio": {
        "audio-classification": Card("graphic_eq", "audio-classification"),
        "automatic-speech-recognition": Card("mic", "automatic-speech-recognition", "pages/speech.py"),
    },
}


def cards() -> None:
    """All jobs, by what goes in."""
    for group, jobs_of_group in GROUPS.items():
        st.subheader(t(f"tasks.group_{group}"), anchor=False)
        names = list(jobs_of_group)
        for begin in range(0, len(names), 2):
            for column, name in zip(st.columns(2), names[begin : begin + 2], strict=False):
                with column:
                    _card(name, jobs_of_group[name])


def _card(name: Task, card: Card) -> None:
    with st.container(border=True, key=f"task_card_{name}", height="stretch"):
        st.markdown(f"**:material/{card.icon}: {t(f'tasks.{name}')}**")
        st.markdown(t(f"tasks.{name}_gives"))
        st.caption(t("tasks.old_name", name=card.old_name))
        if card.page:
            st.page_link(card.page, label=t("tasks.elsewhere"), icon=":material/arrow_forward:")
        else:
            st.button(t("tasks.open"), key=f"task_open_{name}", on_click=open_job, args=(name,), width="stretch")
