"""One question over many pictures: a table that grows picture by picture, to look at and to keep."""

from __future__ import annotations

from contextlib import closing

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.errors import ModelError
from llm.events import TextDelta
from llm.messages import user
from llm.settings import GenerationSettings
from llm.vision.picture import EXTENSIONS, MAX_BYTES, take_in
from llm.vision.sheet import as_csv, as_excel
from ui.image import state
from ui.shared.i18n import explain, t

EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def table(entry: ModelEntry | None) -> None:
    """Draws the form and the table. What has been answered stays when the page is left in between."""
    st.caption(t("image.table_intro"))
    files = st.file_uploader(
        t("image.table_files"),
        type=EXTENSIONS,
        max_upload_size=MAX_BYTES >> 20,
        accept_multiple_files=True,
        key="image_table_files",
    )
    question = st.text_input(t("image.table_question"), t("image.ask_describe"), key="image_table_question")
    rows: dict[tuple[str, str, str], str] = st.session_state.setdefault(state.TABLE, {})
    ready = entry is not None and where(entry) is not None
    label = t("image.table_go_on") if rows else t("image.table_run")
    pressed = st.button(
        label, type="primary", disabled=not (ready and files and question.strip()), key="image_table_run"
    )
    if pressed and entry is not None:
        bar = st.progress(0.0)
        for done, file in enumerate(files):
            bar.progress(done / len(files), t("image.table_progress", done=done + 1, total=len(files)))
            key = (file.file_id, file.name, question)
            if key not in rows:
                rows[key] = _answer(entry, file.name, file.getvalue(), question)
        bar.empty()
    if rows:
        _show([[name, asked, answer] for (_, name, asked), answer in rows.items()])


def _answer(entry: ModelEntry, name: str, data: bytes, question: str) -> str:
    """The answer about one picture; for one that cannot be read, the sentence that says why."""
    from llm.runtime import handles

    settings = GenerationSettings().with_values({**entry.sampling, "temperature": 0.0, "max_length": 512})
    try:
        part = take_in(data, name).part
        model = handles.chat(entry)
        with closing(model.stream([user(part, question)], settings)) as events:
            return "".join(event.text for event in events if isinstance(event, TextDelta)).strip()
    except ModelError as error:
        return explain(error)


def _show(rows: list[list[str]]) -> None:
    heads = [t("image.table_picture"), t("image.table_question"), t("image.table_answer")]
    st.dataframe({head: [row[index] for row in rows] for index, head in enumerate(heads)}, hide_index=True)
    with st.container(horizontal=True):
        st.download_button(
            t("image.table_csv"),
            lambda: as_csv([heads, *rows]),
            file_name="pictures.csv",
            mime="text/csv",
            key="image_table_csv",
            on_click="ignore",
        )
        st.download_button(
            t("image.table_excel"),
            lambda: as_excel([heads, *rows]),
            file_name="pictures.xlsx",
            mime=EXCEL,
            key="image_table_excel",
            on_click="ignore",
        )
        st.button(t("image.table_clear"), on_click=lambda: st.session_state.pop(state.TABLE), key="image_table_clear")
