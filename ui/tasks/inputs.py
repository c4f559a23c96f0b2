"""What a job works on: a file of the visitor's, or one of the examples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import streamlit as st

from llm.catalogue.entry import Task
from llm.tasks.media import PICTURE_TASKS
from llm.vision.picture import EXTENSIONS, MAX_BYTES
from ui.shared.i18n import language, t
from ui.tasks.examples import EXAMPLES_OF


@dataclass(frozen=True, slots=True)
class Given:
    """A file to work on. mark: tells it from others."""

    data: bytes
    name: str

    @property
    def mark(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:16]


def media_input(task: Task) -> Given | None:
    """Draws the ways in. None: nothing was given yet."""
    offered = EXAMPLES_OF.get(task, ())
    names = [example.name for example in offered]
    picked = st.pills(
        t("tasks.example"),
        names,
        format_func=lambda name: t(f"tasks.example_{name}"),
        key=f"task_example_{task}",
    )
    if picked:
        given = Given(*offered[names.index(picked)].data(language()))
    else:
        found = _own_file(task)
        if found is None:
            return None
        given = found
    if task not in PICTURE_TASKS:
        st.audio(given.data)
    return given


def _own_file(task: Task) -> Given | None:
    if task in PICTURE_TASKS:
        file = st.file_uploader(
            t("tasks.input_picture"),
            type=EXTENSIONS,
            max_upload_size=MAX_BYTES >> 20,
            key=f"task_file_{task}",
        )
        return Given(file.getvalue(), file.name) if file is not None else None
    file = st.file_uploader(t("tasks.input_sound"), key=f"task_file_{task}")
    if file is not None:
        return Given(file.getvalue(), file.name)
    spoken = st.audio_input(t("tasks.record"), key=f"task_microphone_{task}")
    return Given(spoken.getvalue(), t("tasks.recording")) if spoken is not None else None
