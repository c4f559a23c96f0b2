"""Many files at once: a job with progress, its rows as they come, and what can be kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.jobs import JobRecord, jobs
from llm.tasks.files import masks_as_zip, rows_as_coco, rows_as_csv, rows_as_json
from llm.tasks.media import PICTURE_TASKS
from llm.vision.picture import EXTENSIONS, MAX_BYTES
from ui.shared.i18n import explain_code, t
from ui.shared.jobs import job_card
from ui.shared.state import owner
from ui.tasks.answers import named
from ui.tasks.drawing import clock, percent

KIND = "tasks.files"
REFRESH_S = 1.0
_SHOWN_ROWS = 500


def many(task: Task, entry: ModelEntry | None) -> None:
    """Draws the form and the rows of this job's last run, which goes on while nobody looks."""
    pictures = task in PICTURE_TASKS
    files = st.file_uploader(
        t("tasks.many_files"),
        type=EXTENSIONS if pictures else None,
        max_upload_size=MAX_BYTES >> 20,
        accept_multiple_files=True,
        key=f"task_many_files_{task}",
    )
    last = next((job for job in jobs().all(owner(), KIND) if job.params["task"] == task), None)
    pressed = st.button(
        t("tasks.many_start"),
        type="primary",
        disabled=entry is None or not files or bool(last and last.active),
        key=f"task_many_start_{task}",
    )
    if pressed and entry is not None and files:
        title = t("tasks.many_title", task=t(f"tasks.{task}"), count=len(files))
        inputs = [(file.name, file.getvalue()) for file in files]
        last = jobs().start(KIND, title, {"task": task, "model": entry.id}, owner(), inputs)
        st.rerun()
    if last is not None:
        st.fragment(_shown, run_every=REFRESH_S if last.active else None)(last.id)


def _shown(job_id: str) -> None:
    job = jobs().get(job_id, owner())
    if job is None:
        return
    job_card(job_id)
    rows = job.result.get("rows", [])
    if not rows:
        return
    failed = sum("error_code" in row for row in rows)
    st.caption(t("tasks.many_done", done=len(rows) - failed, failed=failed))
    st.dataframe([_line(row) for row in rows[:_SHOWN_ROWS]], hide_index=True, key=f"task_many_rows_{job_id}")
    _downloads(job, rows)


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    problem = explain_code(row["error_code"], row["error_values"]) or row["error_text"] if "error_code" in row else ""
    return {
        t("tasks.many_file"): row["file"],
        t("tasks.many_result"): "" if problem else _said(row),
        t("tasks.many_problem"): problem,
    }


def _said(row: Mapping[str, Any]) -> str:
    """A row's answer in a few words."""
    if "spans_s" in row:
        return " · ".join(f"{named(label)} {clock(start)}–{clock(end)}" for start, end, label in row["spans_s"][:8])
    if "areas" in row:
        pixels = row["width"] * row["height"]
        pairs = zip(row["labels"], row["areas"], strict=True)
        return " · ".join(f"{named(label)} {percent(area / pixels)}" for label, area in list(pairs)[:5])
    least = 0.5 if "boxes" in row else 0.0
    pairs = zip(row["labels"], row["scores"], strict=True)
    return " · ".join(f"{named(label)} {percent(score)}" for label, score in pairs if score >= least)[:300]


def _downloads(job: JobRecord, rows: list[dict[str, Any]]) -> None:
    kinds: dict[str, tuple[Any, str]] = {
        "csv": (lambda: rows_as_csv(rows), "text/csv"),
        "json": (lambda: rows_as_json(rows), "application/json"),
    }
    if any("boxes" in row for row in rows):
        kinds["coco"] = (lambda: rows_as_coco(rows), "application/json")
    if any("areas" in row for row in rows):
        kinds["masks"] = (lambda: masks_as_zip(rows, jobs().folder_of(job.id)), "application/zip")
    endings = {"coco": "coco.json", "masks": "masks.zip"}
    with st.container(horizontal=True):
        for name, (made, mime) in kinds.items():
            st.download_button(
                t(f"tasks.export_{name}"),
                made,
                file_name=endings.get(name, f"answers.{name}"),
                mime=mime,
                icon=":material/download:",
                key=f"task_many_{name}_{job.id}",
                on_click="ignore",
            )
