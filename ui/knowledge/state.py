"""What the Knowledge page remembers of a visitor, and what it asks the library for."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st

from llm.documents.document import Box
from llm.documents.pictures import lit, page_picture
from llm.errors import ModelError
from llm.knowledge.library import Library, file_of
from llm.knowledge.values import Base, KnownDocument, Passage
from llm.vision.picture import for_model, take_in
from ui.shared.state import owner

BASE = "knowledge.base"
EXTRACTIVE = "knowledge.extractive"
PROBLEM = "knowledge.problem"


def library() -> Library:
    """The knowledge as this visitor may see it."""
    return Library(owner())


def chosen_base() -> Base | None:
    """The base that is open: the session's, or the one that the address names, or the first."""
    known = library().bases()
    wanted = st.session_state.get(BASE) or st.query_params.get("b", "")
    base = next((one for one in known if one.id == wanted), known[0] if known else None)
    if base is not None:
        st.query_params["b"] = base.id
    return base


def open_base(base_id: str) -> None:
    """Callback: another base."""
    st.session_state[BASE] = base_id


def is_mine(base: Base) -> bool:
    return base.owner == owner()


def page_image(document: KnownDocument, number: int, size: tuple[float, float], boxes: Sequence[Box]) -> bytes | None:
    """A page's picture with places lit; None for documents that have none.

    Raises:
        ModelError: it cannot be drawn.
    """
    if document.kind == "pdf":
        return lit(_drawn(document.sha256, document.name, number), boxes, size)
    if document.kind == "picture":
        return lit(_photo(document.sha256, document.name), boxes, size)
    return None


@st.cache_data(max_entries=24, ttl=600, show_spinner=False)
def _drawn(sha256: str, name: str, number: int) -> bytes:
    return page_picture(file_of(sha256), name, number)


@st.cache_data(max_entries=8, ttl=600, show_spinner=False)
def _photo(sha256: str, name: str) -> bytes:
    """A picture as it was read, within the bounds of pictures."""
    out = io.BytesIO()
    for_model(take_in(file_of(sha256).read_bytes(), name).part).save(out, "PNG")
    return out.getvalue()


def place_on_page(passage: Passage, sentence: str) -> tuple[int, tuple[float, float] | None, list[Box]]:
    """The page, its size and the places on it of a passage's sentence; of the whole passage if not found."""
    wanted = "".join(sentence.split())
    pages = {page.number: page for page in library().pages(passage.document_id)}
    if len(wanted) > 5:
        for number in dict.fromkeys([passage.page, *(page for page, _ in passage.boxes)]):
            page = pages.get(number)
            for block in page.blocks if page else ():
                if block.box is not None and wanted in "".join(block.text.split()):
                    return number, page.size if page else None, [block.box]
    page = pages.get(passage.page)
    return passage.page, page.size if page else None, [box for number, box in passage.boxes if number == passage.page]


def fails(error: ModelError) -> None:
    """Keeps an error to be shown by the next run of the page."""
    from ui.shared.i18n import explain

    st.session_state[PROBLEM] = explain(error)
