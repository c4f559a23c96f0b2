"""The form of a text job: texts or an example, what can be turned, run; and what came of it, in tabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

import llm.tasks
from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import where
from llm.errors import ModelError
from llm.tasks.registry import TaskSpec, spec_of
from llm.tasks.running import controls_of
from llm.tasks.snippets import snippets_of
from llm.tasks.text_outputs import TextRun
from ui.shared.controls import draw_controls
from ui.shared.i18n import explain, language, t
from ui.shared.units import readable_bytes
from ui.tasks.drawing import pieces_html
from ui.tasks.examples import TEXT_EXAMPLES
from ui.tasks.models import choose_model, known_models
from ui.tasks.state import answer_to, remember
from ui.tasks.text_answers import show_text

_HEIGHTS = {"text": 140, "question": 68}
_SHOWN_PIECES = 2000
SMALL_CHAT_PARAMETERS = 500_000_000
"""Chat models below are warned of: one of 135 million was no better than guessing in Chinese (docs/benchmarks.md)."""


def text_form(task: Task, entry: ModelEntry | None) -> None:
    """Draws what stands below the choice of the model."""
    spec = spec_of(task)
    if entry is not None and entry.converses:
        st.info(t("tasks.chat_note"), icon=":material/forum:")
        if 0 < entry.parameters < SMALL_CHAT_PARAMETERS:
            st.warning(t("tasks.chat_small"), icon=":material/warning:")
    inputs = _inputs(spec)
    options = draw_controls(controls_of(spec, entry), {}, "tasks.option_", f"{task}_{entry.id}") if entry else {}
    ready = entry is not None and all(text.strip() for text in inputs)
    pressed = st.button(
        t("tasks.run"), type="primary", icon=":material/play_arrow:", disabled=not ready, key=f"task_run_{task}"
    )
    if entry is None or not ready:
        return
    if pressed:
        _work(task, [entry], inputs, options, task)
    run = answer_to(task, _asked(entry, inputs, options))
    if run is not None:
        _tabs(spec, entry, inputs, options, run)


def _inputs(spec: TaskSpec) -> list[str]:
    """The fields, which an example fills."""
    task = spec.task
    examples = {example.name: example for example in TEXT_EXAMPLES[task]}
    keys = [f"task_{kind}_{task}" for kind in spec.inputs]

    def fill() -> None:
        name = st.session_state[f"task_example_{task}"]
        if name:
            given = examples[name].inputs
            for key, text in zip(keys, given.get(language(), given["en"]), strict=True):
                st.session_state[key] = text

    st.pills(
        t("tasks.example"),
        list(examples),
        format_func=lambda name: t(f"tasks.text_{name}"),
        key=f"task_example_{task}",
        on_change=fill,
    )
    return [
        st.text_area(t(f"tasks.input_{kind}"), key=key, height=_HEIGHTS[kind])
        for kind, key in zip(spec.inputs, keys, strict=True)
    ]


def _asked(entry: ModelEntry, inputs: Sequence[str], options: Mapping[str, Any]) -> tuple[Any, ...]:
    return (entry.id, tuple(inputs), tuple(sorted(options.items())))


def _work(
    task: Task, models: Sequence[ModelEntry], inputs: Sequence[str], options: Mapping[str, Any], place: str
) -> None:
    """Runs models on the same input and keeps their answers; an error is told where it happened."""
    spec = spec_of(task)
    for at, entry in enumerate(models):
        known = {control.name for control in controls_of(spec, entry)}
        own = {name: value for name, value in options.items() if name in known}
        try:
            with st.spinner(t("tasks.running")):
                run = llm.tasks.run(task, *inputs, model=entry, **own)
        except ModelError as error:
            st.error(explain(error), icon=":material/error:")
            continue
        remember(place if at == 0 else f"{place}_{at}", _asked(entry, inputs, options), run)


def _tabs(spec: TaskSpec, entry: ModelEntry, inputs: Sequence[str], options: Mapping[str, Any], run: TextRun) -> None:
    names = ("answer", "code", "tokens", "time", "compare")
    answer, code, tokens, times, compare = st.tabs([t(f"tasks.tab_{name}") for name in names])
    with answer:
        show_text(run, spec.task)
    with code:
        _code(entry, inputs, run)
    with tokens:
        _tokens(run)
    with times:
        _times(run)
    with compare:
        _compare(spec.task, entry, inputs, options)


def _code(entry: ModelEntry, inputs: Sequence[str], run: TextRun) -> None:
    found = snippets_of(run, inputs, str(where(entry) or entry.id))
    if found.pipeline:
        st.caption(t("tasks.code_now"))
        st.code(found.pipeline, "python", wrap_lines=True)
    if found.old:
        why = "gone" if found.gone else "chat" if run.chat else "differs"
        st.markdown(f"{t('tasks.code_gone')} ~~`{found.old.replace('`', ' ')}`~~")
        st.caption(t(f"tasks.code_why_{why}"))
    if found.plain:
        st.caption(t("tasks.code_plain"))
        st.code(found.plain, "python", wrap_lines=True)
    st.caption(t("tasks.code_native"))
    st.code(found.hearth, "python", wrap_lines=True)


def _tokens(run: TextRun) -> None:
    if not run.pieces:
        st.info(t("tasks.tokens_none"), icon=":material/info:")
        return
    windows = run.pieces[-1].window + 1
    st.caption(t("tasks.tokens_count", count=f"{len(run.pieces):,}", windows=windows))
    st.html(pieces_html(run.pieces[:_SHOWN_PIECES]))
    if len(run.pieces) > _SHOWN_PIECES:
        st.caption(t("tasks.tokens_more", count=_SHOWN_PIECES))


def _times(run: TextRun) -> None:
    rows = [*run.seconds.items(), ("total", sum(run.seconds.values()))]
    for column, (name, seconds) in zip(st.columns(len(rows)), rows, strict=True):
        column.metric(t(f"tasks.time_{name}"), f"{seconds * 1000:,.0f} ms")
    st.caption(t("tasks.time_note"))
    if run.memory_bytes:
        st.caption(t("tasks.time_memory", size=readable_bytes(run.memory_bytes)))


def _compare(task: Task, entry: ModelEntry, inputs: Sequence[str], options: Mapping[str, Any]) -> None:
    """Two models on the same input, beside each other."""
    if not [other for other in known_models(task) if other.id != entry.id]:
        st.info(t("tasks.compare_one"), icon=":material/info:")
        return
    second = choose_model(task, f"task_second_{task}", without=entry.id)
    if second is None:
        return
    place = f"{task}_compare"
    if st.button(t("tasks.compare_run"), key=f"task_compare_{task}"):
        _work(task, [entry, second], inputs, options, place)
    for column, (at, model) in zip(st.columns(2, gap="medium"), enumerate((entry, second)), strict=True):
        run = answer_to(place if at == 0 else f"{place}_{at}", _asked(model, inputs, options))
        if run is not None:
            with column:
                st.markdown(f"**{model.name}**  \n{readable_bytes(model.size_bytes)} · {run.seconds['model']:.2f} s")
                show_text(run, f"{place}_{at}")
