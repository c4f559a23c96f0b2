"""Beginning a run: the model, what is wanted of it, every value of it, the plan, and the start."""

from __future__ import annotations

from typing import Any, cast

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import entries_for, where
from llm.errors import ModelError
from llm.finetune.data import Dataset
from llm.finetune.settings import GOALS, PRESETS, Goal, TrainSettings, preset, train_controls
from llm.finetune.start import begin, new_run
from ui.finetune.plan import plan_section
from ui.finetune.state import open_run, open_set, sets
from ui.shared.controls import draw_controls
from ui.shared.i18n import explain, t
from ui.shared.state import owner
from ui.shared.units import readable_bytes

MAIN = ("method", "rank", "alpha", "epochs", "learning_rate", "batch_rows", "max_tokens", "seed")
_VALUES = "finetune.values"
"""What was changed by hand, by goal."""


def begin_section() -> None:
    """Draws the form; a pressed start leads to the run."""
    data = open_set()
    bases = trainable()
    if data is None or not data.training:
        st.info(t("finetune.rows_first"), icon=":material/info:")
        return
    if not bases:
        st.info(t("finetune.no_base"), icon=":material/info:")
        return
    known = {info.id: info.name for info in sets()}
    st.caption(t("finetune.with_rows", name=known[data.id], count=len(data.training), held=len(data.held_out)))
    base = st.selectbox(t("finetune.base"), bases, format_func=_named, key="base")
    goal = st.segmented_control(
        t("finetune.goal"),
        [*GOALS, *PRESETS],
        default=GOALS[1],
        required=True,
        format_func=lambda name: t(f"finetune.goal_{name}"),
        key="goal",
    )
    st.caption(t(f"finetune.goal_{goal}_help"))
    start = PRESETS.get(goal) or preset(cast(Goal, goal), len(data.training), base.parameters)
    settings = _settings(goal, start)
    if settings is None:
        return
    something = plan_section(base, data, settings)
    name = st.text_input(t("finetune.run_name"), data.name, key="run_name", max_chars=60)
    if st.button(
        t("finetune.start"), type="primary", icon=":material/play_arrow:", key="start_run", disabled=not something
    ):
        _begin(data, base, settings, name)


def trainable() -> list[ModelEntry]:
    """Models on this machine whose weights can be trained, the smallest first."""
    found = [e for e in entries_for("text-generation") if not e.is_remote and e.adapter is None and where(e)]
    return sorted(found, key=lambda entry: entry.parameters or entry.size_bytes)


def _named(entry: ModelEntry) -> str:
    return f"{entry.name} · {readable_bytes(entry.size_bytes)}" if entry.size_bytes else entry.name


def _settings(goal: str, start: TrainSettings) -> TrainSettings | None:
    """Every value: the most important in words, all of them to be turned. None: one cannot be set so."""
    changed: dict[str, Any] = st.session_state.setdefault(_VALUES, {}).setdefault(goal, {})
    values = start.to_dict() | changed

    def turned(name: str, value: Any) -> None:
        changed[name] = value

    with st.expander(t("finetune.all_values"), icon=":material/tune:"):
        draw_controls(train_controls(), values, "finetune.value_", f"train_{goal}", turned)
        if changed:
            st.button(t("settings.reset"), icon=":material/undo:", key="train_reset", on_click=_reset, args=(goal,))
    try:
        settings = TrainSettings.from_dict(values)
    except ValueError as error:
        st.error(str(error), icon=":material/error:")
        return None
    st.caption(" · ".join(f"{t(f'finetune.value_{name}')} **{_shown(name, values[name])}**" for name in MAIN))
    return settings


def _shown(name: str, value: Any) -> str:
    if name == "method":
        return t(f"finetune.value_method_{value}")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reset(goal: str) -> None:
    st.session_state[_VALUES][goal] = {}


def _begin(data: Dataset, base: ModelEntry, settings: TrainSettings, name: str) -> None:
    try:
        run = new_run(data, base.id, settings, name.strip(), owner())
        begin(run)
    except (ModelError, OSError) as error:
        st.error(explain(error) if isinstance(error, ModelError) else str(error), icon=":material/error:")
        return
    open_run(run.id)
    st.rerun()
