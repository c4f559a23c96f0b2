"""What the Image page remembers between runs: pictures that wait for a question, and what could not be taken in."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from llm.errors import ModelError, TooManyPictures
from llm.messages import ImagePart
from llm.store import StoredMessage
from llm.vision.picture import Picture, problem_of, take_in
from ui.shared.i18n import explain

WAITING = "image.waiting"
PROBLEMS = "image.problems"
ROUND = "image.round"
MODEL = "image.model"
MODE = "image.mode"
CHAT = "image.chat"
"""The chat model that answers from what was read in a picture."""
MOST_PICTURES = 16


def waiting() -> list[Picture]:
    """The pictures that go with the next question."""
    pictures: list[Picture] = st.session_state.setdefault(WAITING, [])
    return pictures


def add(files: Iterable[tuple[str, bytes]]) -> None:
    """Takes pictures in; what is refused is told at the next run of the page."""
    for name, data in files:
        try:
            picture = take_in(data, name)
            if len(waiting()) >= MOST_PICTURES:
                raise TooManyPictures(count=len(waiting()) + 1, limit=MOST_PICTURES)
            waiting().append(picture)
        except ModelError as error:
            tell(explain(error))


def tell(problem: str) -> None:
    st.session_state.setdefault(PROBLEMS, []).append(problem)


def show_problems() -> None:
    for problem in st.session_state.pop(PROBLEMS, []):
        st.error(problem, icon=":material/error:")


def take_waiting() -> list[ImagePart]:
    """The waiting pictures' parts; none wait afterwards, and the inputs are empty again."""
    parts = [picture.part for picture in waiting()]
    st.session_state[WAITING] = []
    new_round()
    return parts


def new_round() -> None:
    """Empties the widgets that hold files: they are other widgets from now on."""
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def round_key(name: str) -> str:
    return f"{name}_{st.session_state.get(ROUND, 0)}"


def pictures_before(path: list[StoredMessage], message_id: int) -> list[ImagePart]:
    """The pictures that an answer is about: those of the nearest question before it that has any."""
    found: list[ImagePart] = []
    for stored in path:
        if stored.id == message_id:
            break
        if stored.message.images:
            found = [part for part in stored.message.images if problem_of(part) is None]
    return found
