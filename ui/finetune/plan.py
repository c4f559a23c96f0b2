"""The plan before the start, and what is trained of any row, token by token."""

from __future__ import annotations

import html
import json
from dataclasses import asdict
from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.errors import ModelError
from llm.finetune.data import Dataset
from llm.finetune.encode import Encoded
from llm.finetune.plan import FEWEST_STEPS, Plan, plan, read_rows, smaller
from llm.finetune.settings import TrainSettings, changed
from llm.finetune.trial import trial_params
from llm.jobs import jobs
from ui.shared.i18n import explain, t
from ui.shared.jobs import failure, job_card
from ui.shared.state import owner
from ui.shared.units import readable_bytes, readable_seconds

NAMED_ROWS = 20
SHOWN_TOKENS = 1500
_READ = ("method", "max_tokens", "max_prompt_tokens", "max_answer_tokens", "cut", "turns")
"""What the ids of a row depend on."""
_TRIAL = "finetune.trial"


def plan_section(base: ModelEntry, data: Dataset, settings: TrainSettings) -> bool:
    """Draws the plan. Whether there is anything to train."""
    try:
        kept, left = _rows(data, base, settings)
    except (ModelError, OSError) as error:
        st.error(explain(error) if isinstance(error, ModelError) else str(error), icon=":material/error:")
        return False
    key = f"{data.hash}-{base.id}-{json.dumps(settings.to_dict(), sort_keys=True)}"
    found = plan(base, len(data.training), kept, left, settings)
    job = jobs().get(st.session_state.get(_TRIAL, ""), owner())
    if job is not None and job.state == "done" and job.result.get("key") == key:
        found = found.tried(job.result)
    if not kept:
        st.error(t("finetune.nothing_trained", rows=_numbers(left)), icon=":material/error:")
        return False
    _figures(found, settings)
    _warnings(found, data)
    _memory(found)
    if not found.fits:
        _advice(base, kept, settings, found)
    if not found.measured:
        if job is not None and job.active:
            job_card(job.id, removable=False)
        else:
            if job is not None and job.state == "failed" and job.params.get("key") == key:
                st.error(failure(job), icon=":material/error:")
            st.button(
                t("finetune.measure"),
                icon=":material/timer:",
                key="measure",
                help=t("finetune.measure_help"),
                on_click=_try,
                args=(base, data, settings, kept, key),
            )
    _tokens(kept, left)
    return True


def _rows(data: Dataset, base: ModelEntry, settings: TrainSettings) -> tuple[list[Encoded], list[Encoded]]:
    asked = {name: value for name, value in settings.to_dict().items() if name in _READ}
    return _read(data.hash, base.id, json.dumps(asked), data, base, settings)


@st.cache_data(max_entries=8, show_spinner=False)
def _read(
    data_hash: str, base_id: str, values: str, _data: Dataset, _base: ModelEntry, _settings: TrainSettings
) -> tuple[list[Encoded], list[Encoded]]:
    # Numbers are those of the table, where held-out rows stand, too.
    return read_rows(_base, _data.training, _settings)


def _figures(found: Plan, settings: TrainSettings) -> None:
    with st.container(border=True, horizontal=True):
        st.metric(t("finetune.plan_steps"), f"{found.steps:,}", width="content")
        st.metric(t("finetune.plan_rows"), f"{settings.step_rows:,}", width="content")
        st.metric(t("finetune.plan_seen"), f"{found.seen:.1f}×", width="content")
        st.metric(t("finetune.plan_tokens"), f"{found.tokens:,}", width="content", help=t("finetune.plan_tokens_help"))
        time = readable_seconds(found.seconds) if found.seconds is not None else "–"
        st.metric(t("finetune.plan_time"), time, width="content", help=t("finetune.plan_time_help"))


def _warnings(found: Plan, data: Dataset) -> None:
    if found.few_steps:
        st.warning(t("finetune.few_steps", steps=found.steps, fewest=FEWEST_STEPS), icon=":material/warning:")
    if not data.held_out:
        st.warning(t("finetune.no_held_out"), icon=":material/warning:")
    if found.left:
        reasons = ", ".join(f"{one.number} ({t(f'finetune.left_{one.left}')})" for one in found.left[:NAMED_ROWS])
        st.warning(t("finetune.left_out", count=len(found.left), rows=reasons), icon=":material/warning:")


def _memory(found: Plan) -> None:
    """A bar of parts, and the line of what is free."""
    import altair as alt

    points = [
        {"part": f"{t(f'finetune.memory_{name}')} {readable_bytes(size)}", "value": size / 1e9, "order": place}
        for place, (name, size) in enumerate(asdict(found.parts).items())
        if size
    ]
    names = [point["part"] for point in points]
    end = 1.04 * max(found.parts.total, found.free_bytes) / 1e9
    bars = (
        alt.Chart(alt.Data(values=points))
        .mark_bar(height=22)
        .encode(
            x=alt.X("value:Q", title="GB", stack="zero", scale=alt.Scale(domain=[0, end], nice=False)),
            color=alt.Color(
                "part:N", sort=names, title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=260)
            ),
            order="order:Q",
            tooltip=["part:N", alt.Tooltip("value:Q", format=".2f", title="GB")],
        )
    )
    line = alt.Chart(alt.Data(values=[{"free": found.free_bytes / 1e9}])).mark_rule(strokeWidth=2, color="#dc2626")
    told = "finetune.memory_measured" if found.measured else "finetune.memory_reckoned"
    st.caption(t(told, needed=readable_bytes(found.parts.total), free=readable_bytes(found.free_bytes)))
    st.altair_chart((bars + line.encode(x="free:Q")).properties(height=210))


def _advice(base: ModelEntry, kept: list[Encoded], settings: TrainSettings, found: Plan) -> None:
    """What would fit, where this does not."""
    other = smaller(base, kept, settings)
    values = dict(needed=readable_bytes(found.parts.total), free=readable_bytes(found.free_bytes))
    if other is None:
        st.error(t("finetune.nothing_fits", **values), icon=":material/memory:")
        return
    turned = ", ".join(
        f"{t(f'finetune.value_{name}')} {_value(value)}" for name, value in changed(other, settings).items()
    )
    st.error(t("finetune.would_fit", turned=turned, **values), icon=":material/memory:")


def _value(value: Any) -> str:
    return {True: "✓", False: "✗"}[value] if isinstance(value, bool) else str(value)


def _try(base: ModelEntry, data: Dataset, settings: TrainSettings, kept: list[Encoded], key: str) -> None:
    """Callback: two steps in a program of their own."""
    before = st.session_state.get(_TRIAL, "")
    if before:
        jobs().remove(before)
    params = trial_params(base, data, settings, kept, key)
    st.session_state[_TRIAL] = jobs().start("finetune.trial", t("finetune.measure"), params, owner()).id


def _tokens(kept: list[Encoded], left: list[Encoded]) -> None:
    """A row as the model will see it: what is trained, what is only read, what is cut off."""
    with st.expander(t("finetune.tokens"), icon=":material/palette:"):
        st.caption(t("finetune.tokens_help"))
        by_number: dict[int, Encoded] = {}
        for one in [*kept, *left]:
            by_number.setdefault(one.number, one)
        number = st.selectbox(t("finetune.tokens_row"), sorted(by_number), key="tokens_row")
        row = by_number[number]
        st.caption(
            t("finetune.tokens_left", why=t(f"finetune.left_{row.left}"))
            if row.left
            else t("finetune.tokens_count", tokens=len(row.ids), trained=row.trained_tokens, cut=row.cut)
        )
        st.html(f'<div class="hood" tabindex="0">{tokens_html(row)}</div>')


def tokens_html(row: Encoded) -> str:
    """The pieces of a row: trained ones are green, tags pink, everything that is only read grey."""
    parts = []
    for piece, told in list(zip(row.pieces, row.trained, strict=True))[:SHOWN_TOKENS]:
        kind = "assistant" if told else "template"
        if told and piece.kind == "control":
            kind = "control"
        text = html.escape(piece.text).replace("\n", "↵\n") or "·"
        parts.append(f'<span class="token {kind}" title="id {piece.id}">{text}</span>')
    more = len(row.pieces) - SHOWN_TOKENS
    return "".join(parts) + (f" … +{more}" if more > 0 else "")


def _numbers(left: list[Encoded]) -> str:
    return ", ".join(str(one.number) for one in left[:NAMED_ROWS])
