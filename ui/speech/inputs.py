"""What goes into a transcription: files, a recording, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from llm.chat.recordings import drop, held
from llm.speech.options import CONTROLS, SpeechOptions
from llm.speech.transcriber import Recording
from ui.shared.controls import draw_controls
from ui.shared.i18n import language, t, words
from ui.shared.markdown import escaped
from ui.shared.state import owner
from ui.speech.state import OPTIONS


def recordings() -> list[Recording]:
    """The files and the recording that wait in the page, drawn with the widgets that take them."""
    files = st.file_uploader(
        t("speech.files"), accept_multiple_files=True, key="speech_files", help=t("speech.files_help")
    )
    spoken = st.audio_input(t("speech.microphone"), sample_rate=16_000, key="speech_microphone")
    chosen = [Recording(file, file.name) for file in files or []]
    if spoken is not None:
        chosen.append(Recording(spoken, t("speech.recording")))
    return [*chosen, *_held(chosen)]


def _held(chosen: list[Recording]) -> list[Recording]:
    """What could not be transcribed, kept for another try until it is taken off."""
    known = {recording.name for recording in chosen}
    waiting = [kept for kept in held(owner()) if kept.recording.name not in known]
    for kept in waiting:
        name = escaped(kept.recording.name)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(t("speech.held", name=name))
            st.button(
                t("speech.drop_held", name=name),
                icon=":material/close:",
                key=f"speech_held_{kept.job_id}_{kept.place}",
                on_click=drop,
                args=(kept.job_id, kept.place, owner()),
                type="tertiary",
            )
    return [kept.recording for kept in waiting]


def options_panel(languages: tuple[str, ...]) -> SpeechOptions:
    """Draws a widget for every option that `llm.speech.options` declares. `languages` are codes the model knows."""
    chosen: dict[str, Any] = dict(st.session_state.get(OPTIONS, {}))
    columns = st.columns(2)
    with columns[0]:
        chosen["language"] = _language(languages, chosen.get("language"))
    task, *others = CONTROLS
    with columns[1]:
        chosen |= draw_controls([task], chosen, "speech.option_", "speech_option")
    with st.expander(t("speech.more_options"), icon=":material/tune:"):
        plain = [replace(control, advanced=False) for control in others]
        invented = next(i for i, control in enumerate(plain) if control.name == "condition_on_previous_text")
        chosen |= draw_controls(plain[:invented], chosen, "speech.option_", "speech_option")
        st.caption(t("speech.invented"))
        chosen |= draw_controls(plain[invented:], chosen, "speech.option_", "speech_option")
    st.session_state[OPTIONS] = chosen
    return SpeechOptions(**chosen)


def language_name(code: str) -> str:
    """A language's name in the visitor's language; the code where nobody knows one."""
    return words(language()).get(f"languages.{code}", code)


def _language(languages: tuple[str, ...], value: str | None) -> str | None:
    codes = sorted(languages, key=language_name)
    first = [code for code in ("zh", "en") if code in codes]
    offered: list[str | None] = [None, *first, *(code for code in codes if code not in first)]
    names: dict[str | None, str] = {None: t("speech.detect"), **{code: language_name(code) for code in languages}}
    return st.selectbox(
        t("speech.option_language"),
        offered,
        index=offered.index(value) if value in offered else 0,
        format_func=names.__getitem__,
        key="speech_option_language",
        help=t("speech.option_language_help"),
    )
