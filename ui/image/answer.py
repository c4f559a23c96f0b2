"""Below an answer about a picture: what it found, drawn on the picture, to look at and to keep."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import READER, find
from llm.errors import ModelError
from llm.messages import ImagePart
from llm.store import StoredMessage
from llm.vision.boxes import Box, boxes_of, scale_of
from llm.vision.draw import draw
from llm.vision.ocr import read_text
from llm.vision.picture import open_kept
from ui.shared.i18n import explain, t


def found_in(stored: StoredMessage, pictures: list[ImagePart]) -> None:
    """Draws the boxes that an answer names, or for the reader's answers the text that was read."""
    if stored.message.role != "assistant" or not pictures:
        return
    if stored.meta.model.startswith(READER):
        _text_read(stored, pictures)
        return
    if not boxes_of(stored.message.text):
        return
    part = _chosen(pictures, stored.id)
    boxes = boxes_of(stored.message.text, scale_of(_entry(stored.meta.model), open_kept(part).size))
    _drawing(part, boxes, f"boxes_{stored.id}")


def _entry(model: str) -> ModelEntry | None:
    try:
        return find(model)
    except ModelError:
        return None  # the model has been taken away since


def _text_read(stored: StoredMessage, pictures: list[ImagePart]) -> None:
    panel = st.expander(
        t("image.text_found"), icon=":material/document_scanner:", key=f"read_{stored.id}", on_change="rerun"
    )
    if not panel.open:
        return  # reading takes seconds after a restart
    with panel:
        part = _chosen(pictures, stored.id)
        try:
            lines = read_text(part)
        except ModelError as error:
            st.error(explain(error))
            return
        if not lines:
            st.caption(t("image.no_text"))
            return
        _drawing(part, [line.box for line in lines], f"read_{stored.id}", labels=False)
        columns = {
            t("image.text"): [line.text for line in lines],
            t("image.sure"): [f"{line.score:.0%}" for line in lines],
        }
        st.dataframe(columns, hide_index=True)


def _chosen(pictures: list[ImagePart], message_id: int) -> ImagePart:
    if len(pictures) == 1:
        return pictures[0]
    names = [f"{index + 1} · {part.name}" for index, part in enumerate(pictures)]
    last = len(pictures) - 1
    index = st.selectbox(
        t("image.which"), range(len(pictures)), index=last, format_func=names.__getitem__, key=f"which_{message_id}"
    )
    return pictures[index]


def _drawing(part: ImagePart, boxes: list[Box], key: str, labels: bool = True) -> None:
    drawn = draw(part, boxes, labels)
    with st.container(key=f"drawn_{key}"):
        st.image(drawn)
    name = part.name.rsplit(".", 1)[0] or "picture"
    st.download_button(
        t("image.save_drawn"),
        drawn,
        file_name=f"{name}-boxes.png",
        mime="image/png",
        icon=":material/download:",
        key=f"save_{key}",
        on_click="ignore",
        type="tertiary",
    )
