"""The form of one job: model, input, run; and what came of it, in tabs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import where
from llm.errors import ModelError
from llm.tasks.media import PICTURE_TASKS, MediaRun, run_picture, run_sound
from llm.tasks.registry import TEXT_TASKS
from llm.tasks.sound_heads import TimeLine
from ui.shared.i18n import explain, t
from ui.shared.units import readable_bytes
from ui.tasks.answers import show
from ui.tasks.inputs import Given, media_input
from ui.tasks.many import many
from ui.tasks.many_rows import many_rows
from ui.tasks.models import choose_model, known_models
from ui.tasks.state import answer_to, open_job, remember
from ui.tasks.text_form import text_form

_TIMES = ("load", "prepare", "model", "after")


def form(task: Task) -> None:
    """Draws a job's form."""
    st.button(
        t("tasks.back"), icon=":material/arrow_back:", type="tertiary", on_click=open_job, args=("",), key="task_back"
    )
    st.title(t(f"tasks.{task}"), anchor=False)
    st.markdown(t(f"tasks.{task}_gives"))
    entry = choose_model(task, f"task_model_{task}")
    one, several = st.tabs([t("tasks.tab_one"), t("tasks.tab_many")])
    texts = task in TEXT_TASKS
    with one:
        (text_form if texts else _one)(task, entry)
    with several:
        (many_rows if texts else many)(task, entry)


def _one(task: Task, entry: ModelEntry | None) -> None:
    given = media_input(task)
    pressed = st.button(
        t("tasks.run"),
        type="primary",
        icon=":material/play_arrow:",
        disabled=entry is None or given is None,
        key=f"task_run_{task}",
    )
    if entry is None or given is None:
        return
    if pressed:
        _work(task, [entry], given, task)
    run = answer_to(task, (entry.id, given.mark))
    if run is not None:
        _tabs(task, entry, given, run)


def _work(task: Task, models: Sequence[ModelEntry], given: Given, place: str) -> None:
    """Runs models on an input and keeps their answers; an error is told where it happened."""
    for at, entry in enumerate(models):
        try:
            with st.spinner(t("tasks.running")):
                work = run_picture if task in PICTURE_TASKS else run_sound
                remember(
                    place if at == 0 else f"{place}_{at}", (entry.id, given.mark), work(given.data, entry, given.name)
                )
        except ModelError as error:
            st.error(explain(error), icon=":material/error:")


def _tabs(task: Task, entry: ModelEntry, given: Given, run: MediaRun) -> None:
    answer, saw, times, compare = st.tabs([t(f"tasks.tab_{name}") for name in ("answer", "tokens", "time", "compare")])
    with answer:
        show(run, task)
    with saw:
        _saw(run)
    with times:
        _times(run)
    with compare:
        _compare(task, entry, given)


def _saw(run: MediaRun) -> None:
    if run.saw is not None:
        st.caption(t("tasks.saw_square", width=run.saw.width, height=run.saw.height))
        st.image(run.saw)
    elif isinstance(run.output, TimeLine):
        spans = run.output.spans_s
        longest = max(end - start for start, end in spans)
        st.caption(t("tasks.saw_windows", count=len(spans), seconds=f"{longest:.2f}", rate="16,000"))


def _times(run: MediaRun) -> None:
    rows = [(name, run.seconds[name]) for name in _TIMES if name in run.seconds]
    rows.append(("total", sum(run.seconds.values())))
    for column, (name, seconds) in zip(st.columns(len(rows)), rows, strict=True):
        column.metric(t(f"tasks.time_{name}"), f"{seconds * 1000:,.0f} ms")
    st.caption(t("tasks.time_note"))


def _compare(task: Task, entry: ModelEntry, given: Given) -> None:
    """Two models on the same input, beside each other."""
    others = [other for other in known_models(task) if other.id != entry.id]
    if not others:
        st.info(t("tasks.compare_one"), icon=":material/info:")
        return
    second = choose_model(task, f"task_second_{task}", without=entry.id)
    if second is None:
        return
    place = f"{task}_compare"
    if st.button(t("tasks.compare_run"), key=f"task_compare_{task}"):
        _work(task, [entry, second], given, place)
    for column, (at, model) in zip(st.columns(2, gap="medium"), enumerate((entry, second)), strict=True):
        run = answer_to(place if at == 0 else f"{place}_{at}", (model.id, given.mark))
        if run is not None:
            with column:
                path = where(model)
                size = readable_bytes(path.stat().st_size if path is not None and path.is_file() else model.size_bytes)
                st.markdown(f"**{model.name}**  \n{size} · {run.seconds['model'] * 1000:,.0f} ms")
                show(run, f"{place}_{at}")
