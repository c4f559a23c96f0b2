"""Speech to text: recordings in, transcripts to listen to, edit, keep and download."""

from __future__ import annotations

from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.speech.options import SpeechOptions
from ui.shared.i18n import t, words
from ui.shared.jobs import job_card
from ui.shared.model_picker import offer_download, pick_model
from ui.speech.inputs import options_panel, recordings
from ui.speech.progress import finish, job_view, show_problems
from ui.speech.state import current_job, current_transcript, other_jobs, start, start_again
from ui.speech.transcript_list import transcript_list

MODEL = "speech.model"
LANGUAGES = tuple(sorted(key.split(".", 1)[1] for key in words("en") if key.startswith("languages.")))


def main() -> None:
    job = current_job()
    if job is not None and not job.active:
        finish(job)
        job = None
    shown = current_transcript()
    transcript_list(shown[0] if shown else None)
    st.title(t("speech.heading"))
    if job is not None:
        job_view(job.id)
    if shown is not None:
        result(*shown, busy=job is not None)
    elif job is None:
        form()
    for other in other_jobs():
        job_card(other.id)


def model() -> ModelEntry | None:
    """The chosen model when it is here; else the way to get it is drawn."""
    entry = pick_model("automatic-speech-recognition", st.session_state.get(MODEL, ""), key="speech_model")
    if entry is None:
        st.warning(t("speech.no_model"))
        return None
    st.session_state[MODEL] = entry.id
    offer_download(entry)
    return entry if where(entry) else None


def form() -> None:
    st.caption(t("speech.intro"))
    entry = model()
    waiting = recordings()
    options = options_panel(LANGUAGES)
    show_problems()
    pressed = st.button(
        t("speech.start"),
        type="primary",
        icon=":material/graphic_eq:",
        disabled=entry is None or not waiting,
        key="speech_start",
    )
    if pressed and entry is not None:
        start(waiting, options, entry)
        st.rerun()


def result(item: Any, transcription: Any, busy: bool) -> None:
    from ui.speech import editor as speech_editor
    from ui.speech import result as speech_result

    st.set_page_config(layout="wide")
    st.subheader(item.title, anchor=False)
    show_problems()
    beside, text = st.columns([1, 2], gap="medium")
    with beside:
        there = speech_result.player(item)
        speech_result.actions(item, transcription)
        speech_result.downloads(item, transcription)
        speech_result.facts(transcription)
        with st.expander(t("speech.another_try"), icon=":material/replay:"):
            st.caption(t("speech.another_try_help"))
            entry = model()
            heat = st.slider(t("speech.option_temperature"), 0.0, 1.0, 0.4, 0.1, key="speech_retry_temperature")

    def retry(start_s: float, end_s: float) -> None:
        if there and entry is not None and not busy:
            options = SpeechOptions().with_values(transcription.options).retry(heat, transcription.language)
            start_again(item, transcription, (start_s, end_s), options, entry)

    with text:
        speech_editor.editor(item, transcription, retry)


main()
