"""One question over many pictures: a table that grows picture by picture, to look at and to keep."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.errors import ModelError
from llm.jobs import JobRecord, jobs
from llm.vision.picture import EXTENSIONS, MAX_BYTES, take_in
from llm.vision.sheet import as_csv, as_excel
from ui.shared.i18n import explain_code, t
from ui.shared.jobs import job_card
from ui.shared.state import owner

EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

KIND = "image.table"
REFRESH_S = 1.0
THUMBNAIL_PX = 56


def table(entry: ModelEntry | None) -> None:
    """Draws the form and the table of the last job: rows come as they are answered, also while nobody looks."""
    st.caption(t("image.table_intro"))
    files = st.file_uploader(
        t("image.table_files"),
        type=EXTENSIONS,
        max_upload_size=MAX_BYTES >> 20,
        accept_multiple_files=True,
        key="image_table_files",
    )
    question = st.text_input(t("image.table_question"), t("image.ask_describe"), key="image_table_question")
    last = next(iter(jobs().all(owner(), KIND)), None)
    ready = entry is not None and where(entry) is not None and not (last and last.active)
    pressed = st.button(
        t("image.table_run"), type="primary", disabled=not (ready and files and question.strip()), key="image_table_run"
    )
    if pressed and entry is not None:
        inputs = [(file.name, file.getvalue()) for file in files]
        last = jobs().start(KIND, question, {"model": entry.id, "question": question}, owner(), inputs)
        st.rerun()
    if last is not None:
        st.fragment(_shown, run_every=REFRESH_S if last.active else None)(last.id)


def _shown(job_id: str) -> None:
    """The job's progress and its rows so far."""
    job = jobs().get(job_id, owner())
    if job is None:
        return
    job_card(job_id)
    rows = [_row(job, index, row) for index, row in enumerate(job.result.get("rows", []))]
    if rows:
        _show(job, rows)


def _row(job: JobRecord, index: int, row: dict[str, Any]) -> tuple[str, str, str]:
    """Thumbnail, name, and the answer or why there is none."""
    said = row.get("answer")
    if said is None:
        said = explain_code(row["error_code"], row["error_values"]) or row["error_text"]
    return _thumbnail(jobs().folder_of(job.id) / "inputs" / str(index)), row["picture"], said


@st.cache_data(max_entries=500, show_spinner=False)
def _thumbnail(path: Path) -> str:
    """A small picture as a data URL; empty for what is none."""
    try:
        picture = Image.open(io.BytesIO(take_in(path.read_bytes(), path.name).part.data)).convert("RGB")
    except (ModelError, OSError):
        return ""
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _show(job: JobRecord, drawn: list[tuple[str, str, str]]) -> None:
    heads = [t("image.table_picture"), t("image.table_question"), t("image.table_answer")]
    rows = [[name, job.params["question"], answer] for _, name, answer in drawn]
    st.dataframe(
        [
            {"picture": picture, heads[0]: row[0], heads[2]: row[2]}
            for (picture, *_), row in zip(drawn, rows, strict=True)
        ],
        column_config={"picture": st.column_config.ImageColumn("", width="small")},
        row_height=THUMBNAIL_PX,
        hide_index=True,
    )
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
