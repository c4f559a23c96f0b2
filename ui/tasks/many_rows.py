"""A column of a table at once: a job with progress, its rows as they come, how right they are, and files of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.errors import ModelError
from llm.jobs import JobRecord, jobs
from llm.tasks.files import rows_as_json
from llm.tasks.registry import spec_of
from llm.tasks.running import controls_of
from llm.tasks.tables import COMPARED, Comparison, Table, compared, read_table, rows_of, table_as_csv
from ui.shared.controls import draw_controls
from ui.shared.i18n import explain, explain_code, t
from ui.shared.jobs import job_card
from ui.shared.state import owner
from ui.tasks.drawing import percent

KIND = "tasks.table"
_REFRESH_S = 2.0
_SHOWN_ROWS = 500


def many_rows(task: Task, entry: ModelEntry | None) -> None:
    """Draws the form and the rows of this job's last run, which goes on while nobody looks."""
    file = st.file_uploader(t("tasks.many_table"), type=["csv", "tsv", "txt", "xlsx"], key=f"task_table_{task}")
    if file is not None:
        try:
            table = _table(file.file_id, file.name, file.getvalue())
        except ModelError as error:
            st.error(explain(error), icon=":material/error:")
        else:
            _begin(task, entry, table, file.name, file.getvalue())
    last = next((job for job in jobs().all(owner(), KIND) if job.params["task"] == task), None)
    if last is not None:
        st.fragment(_shown, run_every=_REFRESH_S if last.active else None)(last.id)


@st.cache_data(max_entries=4, show_spinner=False)
def _table(mark: str, name: str, _data: bytes) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(_data)
        return read_table(path, name)


def _begin(task: Task, entry: ModelEntry | None, table: Table, name: str, data: bytes) -> None:
    if not table.rows:
        st.warning(t("tasks.many_empty"), icon=":material/warning:")
        return
    spec = spec_of(task)
    names = list(dict.fromkeys(table.columns))
    columns = [
        st.selectbox(t(f"tasks.many_column_of_{kind}"), names, key=f"task_column_{task}_{kind}") for kind in spec.inputs
    ]
    gold = ""
    if task in COMPARED:
        gold = st.selectbox(
            t("tasks.many_gold"),
            ["", *names],
            format_func=lambda column: column or t("tasks.many_gold_none"),
            key=f"task_gold_{task}",
        )
    options = draw_controls(controls_of(spec, entry), {}, "tasks.option_", f"{task}_{entry.id}_rows") if entry else {}
    pressed = st.button(t("tasks.many_start"), type="primary", disabled=entry is None, key=f"task_rows_start_{task}")
    if pressed and entry is not None:
        title = t("tasks.many_rows_title", task=t(f"tasks.{task}"), name=name)
        params = {"task": task, "model": entry.id, "columns": columns, "gold": gold, "options": options}
        jobs().start(KIND, title, params, owner(), [(name, data)])


def _shown(job_id: str) -> None:
    job = jobs().get(job_id, owner())
    if job is None:
        return
    job_card(job_id)
    # All of 100,000 rows every two seconds would take the model's time.
    rows = rows_of(jobs().folder_of(job_id), _SHOWN_ROWS if job.active else None)
    if not rows:
        return
    if not job.active:
        failed = sum("error_code" in row for row in rows)
        st.caption(t("tasks.many_done", done=len(rows) - failed, failed=failed))
        found = compared(rows)
        if found is not None:
            _compared(found, job_id)
    st.dataframe([_line(row) for row in rows[:_SHOWN_ROWS]], hide_index=True, key=f"task_table_rows_{job_id}")
    if len(rows) > _SHOWN_ROWS:
        st.caption(t("tasks.many_shown", count=_SHOWN_ROWS))
    if not job.active:
        _downloads(job, rows)


def _line(row: dict[str, Any]) -> dict[str, str]:
    problem = explain_code(row["error_code"], row["error_values"]) or row["error_text"] if "error_code" in row else ""
    gold = {t("tasks.many_gold_answer"): row["gold"]} if "gold" in row else {}
    return {
        t("tasks.many_row"): str(row["row"]),
        t("tasks.input_text"): row["inputs"][0][:200],
        t("tasks.many_answer"): row.get("said", ""),
        **gold,
        t("tasks.many_problem"): problem,
    }


def _compared(found: Comparison, job_id: str) -> None:
    with st.container(horizontal=True):
        st.metric(t("tasks.many_accuracy"), percent(found.accuracy))
        if found.labels:
            st.metric(t("tasks.many_f1"), f"{found.macro_f1:.3f}")
        st.metric(t("tasks.many_compared"), f"{found.count:,}")
    if found.labels:
        names = dict(enumerate(found.labels))
        lines = [
            {t("tasks.many_gold_answer"): names[at], **{names[to]: number for to, number in enumerate(row)}}
            for at, row in enumerate(found.confusion)
        ]
        st.caption(t("tasks.many_confusion"))
        st.dataframe(lines, hide_index=True, key=f"task_confusion_{job_id}")


def _downloads(job: JobRecord, rows: list[dict[str, Any]]) -> None:
    kinds = {
        "csv": (lambda: table_as_csv(rows, job.params["columns"]), "text/csv"),
        "json": (lambda: rows_as_json(rows), "application/json"),
    }
    with st.container(horizontal=True):
        for name, (made, mime) in kinds.items():
            st.download_button(
                t(f"tasks.export_{name}"),
                made,
                file_name=f"answers.{name}",
                mime=mime,
                icon=":material/download:",
                key=f"task_table_{name}_{job.id}",
                on_click="ignore",
            )
