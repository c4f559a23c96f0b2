"""Files that go along with a message: read before it is sent, each with what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import streamlit as st

from llm.cancel import Cancel
from llm.documents.attachment import attachment_of
from llm.documents.document import Page
from llm.errors import ModelError
from llm.messages import DocumentPart
from ui.shared.i18n import explain, t
from ui.shared.markdown import escaped
from ui.shared.state import CHAT_ATTACHMENTS, CHAT_PROBLEM, CHAT_READING

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose files are still to be read: (name, bytes) each."""

    text: str
    files: tuple[tuple[str, bytes], ...]


def read_files(send: Callable[[str, Sequence[DocumentPart]], None]) -> None:
    """Reads the files of the question that waits for them, if one does, and sends it.

    If one of them cannot be read, it says why; the question goes back into the input, and those that were read stay
    attached. Has to run before the input is drawn.
    """
    asked: Asked | None = st.session_state.get(CHAT_READING)
    if asked is None:
        return
    documents, problems = [], []
    with st.container(horizontal=True, vertical_alignment="center"):
        line = st.empty()
        st.button(t("chat.cancel_reading"), icon=":material/close:", key="cancel_reading", on_click=_give_back)
    for name, data in asked.files:
        try:
            documents.append(_read(name, data, line))
        except ModelError as error:
            problems.append(explain(error))
    del st.session_state[CHAT_READING]
    attached = [*st.session_state.pop(CHAT_ATTACHMENTS, []), *documents]
    if problems:
        st.session_state[CHAT_PROBLEM] = "\n\n".join(problems)
        st.session_state[CHAT_ATTACHMENTS] = attached
        st.session_state["chat_input"] = asked.text
    else:
        send(asked.text, attached)
    st.rerun()


def _read(name: str, data: bytes, line: st.delta_generator.DeltaGenerator) -> DocumentPart:
    """Reads one file in another thread, so that a click is heard meanwhile."""
    cancel = Cancel()
    seen: list[Page] = []
    with ThreadPoolExecutor(1) as pool:
        work: Future[DocumentPart] = pool.submit(attachment_of, name, data, cancel, seen.append)
        try:
            while not work.done():
                line.caption(t("chat.reading_page" if seen else "chat.reading", name=escaped(name), page=len(seen)))
                time.sleep(_LOOK_S)
        finally:
            cancel.set()
        return work.result()


def _give_back() -> None:
    """Callback: the files are not to be read; the question stands in the input again."""
    asked: Asked | None = st.session_state.pop(CHAT_READING, None)
    if asked is not None:
        st.session_state["chat_input"] = asked.text


def attached_documents() -> None:
    """What another page sent here for the next message, or was read, each with a way to take it off."""
    waiting: list[DocumentPart] = st.session_state.get(CHAT_ATTACHMENTS, [])
    for index, document in enumerate(waiting):
        with st.bottom:
            st.button(
                t("chat.attached", name=document.name),
                icon=":material/attach_file_off:",
                key=f"detach_{index}",
                help=t("chat.detach"),
                on_click=_detach,
                args=(index,),
            )


def _detach(index: int) -> None:
    del st.session_state[CHAT_ATTACHMENTS][index]
