"""A finished transcript: its player, what is known of it, its files, and the way to the chat."""

from __future__ import annotations

import streamlit as st

from llm.errors import NotFound
from llm.messages import DocumentPart
from llm.speech.exports import FORMATS, txt
from llm.speech.segments import Transcription
from llm.store import Transcript
from ui.shared.i18n import t
from ui.shared.state import CHAT_ATTACHMENTS, kept
from ui.speech.progress import clock, heard_language, how_decoded
from ui.speech.state import DELETED, UNDO, open_transcript, undo


def player(item: Transcript) -> bool:
    """The recording in a player that the editor can steer; False when it is gone."""
    try:
        path = kept().attachments.path(item.audio_sha256 or "")
    except NotFound:
        st.info(t("speech.no_recording"))
        return False
    with st.container(key="speech_player"):
        st.audio(str(path), format=item.audio_type or "audio/mpeg")
    return True


def facts(transcription: Transcription) -> None:
    """How the text came about, and what is doubtful in it."""
    parts = [
        heard_language(transcription.language, transcription.language_probability),
        clock(transcription.duration_s),
        transcription.model,
    ]
    if transcription.took_s:
        parts.append(t("speech.speed", times=f"{transcription.duration_s / transcription.took_s:.1f}"))
    st.caption(" · ".join(part for part in parts if part))
    if transcription.why:
        runtime = t(f"speech.runtime_{transcription.runtime}")
        st.caption(how_decoded(transcription.decoding, transcription.why) + " · " + runtime)
    if not transcription.complete:
        st.warning(t("speech.incomplete"))
    if transcription.missing_s:
        st.warning(t("speech.missing", time=clock(transcription.missing_s)))
    doubtful = sum(1 for segment in transcription.segments if segment.marks)
    if doubtful:
        st.warning(t("speech.doubtful", count=doubtful))


def downloads(item: Transcript, transcription: Transcription) -> None:
    """One button a format; each file is written from the text as it is now."""
    stem = item.title.rsplit(".", 1)[0] or item.title
    with st.container(horizontal=True, key="speech_downloads"):
        for ending, (write, media_type) in FORMATS.items():
            st.download_button(
                ending.upper(),
                write(transcription),
                file_name=f"{stem}.{ending}",
                mime=media_type,
                key=f"speech_download_{ending}",
                on_click="ignore",
            )


def actions(item: Transcript, transcription: Transcription) -> None:
    """Send to chat, take a change back, a new name, delete."""
    with st.container(horizontal=True, key="speech_actions"):
        if st.button(t("speech.send_to_chat"), icon=":material/chat:", key="speech_to_chat"):
            stem = item.title.rsplit(".", 1)[0] or item.title
            part = DocumentPart(f"{stem}.txt", txt(transcription))
            st.session_state[CHAT_ATTACHMENTS] = [*st.session_state.get(CHAT_ATTACHMENTS, []), part]
            st.switch_page("pages/chat.py")
        st.button(
            t("speech.undo"),
            icon=":material/undo:",
            on_click=undo,
            args=(item.id,),
            disabled=not st.session_state.get(UNDO),
            key="speech_undo",
        )
        with st.popover("", icon=":material/more_horiz:", help=t("speech.menu"), key="speech_menu"):
            key = f"speech_title_{item.id}"
            st.text_input(t("speech.title"), item.title, key=key, on_change=_rename, args=(item.id, key))
            st.button(
                t("speech.delete"), icon=":material/delete:", on_click=_delete, args=(item.id,), key="speech_delete"
            )


def _rename(transcript_id: str, key: str) -> None:
    if title := st.session_state[key].strip():
        kept().transcripts.update(transcript_id, title=title)


def _delete(transcript_id: str) -> None:
    kept().transcripts.delete(transcript_id)
    open_transcript("")
    st.session_state[DELETED] = transcript_id
