"""Text files that go along with a message."""

from __future__ import annotations

import streamlit as st

from llm.errors import ModelError
from llm.messages import DocumentPart
from ui.shared.i18n import t
from ui.shared.state import CHAT_ATTACHMENTS
from ui.shared.units import readable_bytes

TEXT_TYPES = ["txt", "md", "csv", "tsv", "json", "py", "js", "html", "css", "srt", "vtt", "log", "toml", "yaml", "xml"]
LARGEST_BYTES = 4 << 20


class UnreadableDocument(ModelError):
    code, status = "unreadable_document", 400
    sentence = "{name} cannot be read as text. Attach a text file of at most {limit}."


def document_of(name: str, data: bytes) -> DocumentPart:
    """A text file as a part of a message, in UTF-8, UTF-16 with its mark, or the Chinese national encoding.

    Raises:
        UnreadableDocument: too large, empty, or no text.
    """
    limit = readable_bytes(LARGEST_BYTES)
    if not data or len(data) > LARGEST_BYTES or (b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise UnreadableDocument(name=name, limit=limit)
    for encoding in ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "gb18030"):
        try:
            return DocumentPart(name, data.decode(encoding))
        except UnicodeDecodeError:
            continue
    raise UnreadableDocument(name=name, limit=limit)


def attached_documents() -> None:
    """What another page sent here for the next message, each with a way to take it off."""
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
