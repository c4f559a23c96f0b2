"""The course of a run, read from its folder and from nothing else: a reload or a second browser shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from llm.errors import NotFound
from llm.finetune.run import Event, Light, get_run, light
from llm.finetune.start import job_of
from llm.jobs import JobRecord, jobs
from ui.shared.i18n import language, t, words
from ui.shared.jobs import failure
from ui.shared.state import owner
from ui.shared.units import readable_seconds

SMOOTHING = 0.9
SHOWN_POINTS = 2000
"""More points than this are thinned out evenly: a browser cannot show them."""
_LIGHTS: dict[Light, str] = {"unknown": "gray", "learning": "green", "watch": "orange", "overfit": "red"}
FORGOT = 1.5
"""From so many times the first loss on other topics on, forgetting is told."""
_JOB_SEEN = "finetune.job_seen"


def course(run_id: str) -> None:
    """Draws how a run is going; the page runs again when it ends."""
    try:
        run = get_run(run_id, owner())
    except NotFound:
        return
    job, events = job_of(run), run.events()
    active = job is not None and job.active
    if st.session_state.get(_JOB_SEEN) == run_id and not active:
        st.session_state[_JOB_SEEN] = ""
        st.rerun()
    if active:
        st.session_state[_JOB_SEEN] = run_id
    if job is not None:
        _state(job, events)
    _figures(job, events)
    _light(events)
    _losses(events)
    _others(events)
    samples(events)


def _state(job: JobRecord, events: Sequence[Event]) -> None:
    """Progress and what can be done."""
    if job.active:
        stage = next(
            (
                event["stage"]
                for event in reversed(events)
                if event.get("event") in ("stage", "step") and "stage" in event
            ),
            "loading",
        )
        share = min(1.0, job.done / job.total) if job.total else 0.0
        label = words(language()).get(f"finetune.stage_{stage}", t("jobs.running"))
        if job.state == "queued":
            label = t("jobs.queued")
        left = f" · {t('jobs.remaining', time=readable_seconds(job.remaining_s))}" if job.remaining_s else ""
        st.progress(share, f"{label}{left}")
    elif job.state == "failed":
        st.error(failure(job), icon=":material/error:")
    elif job.state == "paused":
        st.info(t("finetune.paused"), icon=":material/pause_circle:")
    with st.container(horizontal=True):
        if job.active:
            _button("pause", "pause", jobs().pause, job.id, help_=t("finetune.pause_help"))
            _button("stop", "stop", jobs().cancel, job.id, help_=t("finetune.stop_help"))
        elif job.state in ("paused", "failed", "cancelled"):
            _button("resume", "play_arrow", jobs().resume, job.id, help_=t("finetune.resume_help"))


def _button(name: str, icon: str, act: Any, job_id: str, help_: str) -> None:
    st.button(
        t(f"finetune.{name}"), icon=f":material/{icon}:", on_click=act, args=(job_id,), key=f"run_{name}", help=help_
    )


def _figures(job: JobRecord | None, events: Sequence[Event]) -> None:
    steps = _of(events, "step")
    if not steps:
        return
    last, looks = steps[-1], _of(events, "look")
    held = next((look["held_out_loss"] for look in reversed(looks) if look.get("held_out_loss") is not None), None)
    total = f" / {job.total:,.0f}" if job is not None and job.total else ""
    figures = {
        "step": f"{last['step']:,}{total}",
        "loss": f"{smoothed([event['loss'] for event in steps])[-1]:.3f}",
        **({"held_out_loss": f"{held:.3f}"} if held is not None else {}),
        "tokens_per_s": f"{last['tokens_per_s']:,.0f}" if last.get("tokens_per_s") else "–",
        "epoch": f"{last['epoch']:.1f}" if last.get("epoch") is not None else "–",
    }
    with st.container(horizontal=True):
        for name, value in figures.items():
            st.metric(t(f"finetune.figure_{name}"), value, width="content")


def _light(events: Sequence[Event]) -> None:
    seen = light(list(events))
    st.markdown(f":{_LIGHTS[seen]}[:material/circle:] {t(f'finetune.light_{seen}')}")
    others = [look["canary_loss"] for look in _of(events, "look") if look.get("canary_loss")]
    if len(others) > 1 and others[-1] > FORGOT * others[0]:
        st.markdown(f":orange[:material/circle:] {t('finetune.forgets')}")


def _losses(events: Sequence[Event]) -> None:
    """Training loss as it is and smoothed, and the losses at each look."""
    steps = _thinned(_of(events, "step"))
    if not steps:
        return
    smooth = smoothed([event["loss"] for event in steps])
    points = [_point(event["step"], event["loss"], "training") for event in steps]
    points += [_point(event["step"], value, "smoothed") for event, value in zip(steps, smooth, strict=True)]
    for look in _of(events, "look"):
        points += [
            _point(look["step"], look[name], name)
            for name in ("held_out_loss", "canary_loss")
            if look.get(name) is not None
        ]
    _chart(points, t("finetune.chart_loss"), 260)


def _others(events: Sequence[Event]) -> None:
    steps = _thinned(_of(events, "step"))
    if not steps:
        return
    with st.expander(t("finetune.more_curves")):
        for name, column in zip(("rate", "grad_norm", "tokens_per_s"), st.columns(3), strict=True):
            with column:
                _chart(
                    [_point(event["step"], event[name], name) for event in steps if event.get(name) is not None],
                    t(f"finetune.chart_{name}"),
                    160,
                )


def _chart(points: list[dict[str, Any]], title: str, height: int) -> None:
    import altair as alt

    names = list(dict.fromkeys(point["line"] for point in points))
    shades = alt.condition(alt.datum.faint, alt.value(0.3), alt.value(1.0))
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=len(points) < 60)
        .encode(
            x=alt.X("step:Q", title=None, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("line:N", title=None, sort=names, legend=alt.Legend(orient="top") if names[1:] else None),
            opacity=shades,
            tooltip=["step:Q", alt.Tooltip("value:Q", format=".4g"), "line:N"],
        )
        .properties(height=height)
    )
    st.caption(title)
    st.altair_chart(chart)


def _point(step: int, value: float, name: str) -> dict[str, Any]:
    return {"step": step, "value": value, "line": t(f"finetune.line_{name}"), "faint": name == "training"}


def samples(events: Sequence[Event]) -> None:
    """Before, now and reference of the same questions, at whatever step one looks."""
    seen = _of(events, "sample")
    if not seen:
        return
    st.subheader(t("finetune.samples"), anchor=False)
    steps = sorted({event["step"] for event in seen})
    at = steps[-1]
    if len(steps) > 1:
        at = st.select_slider(t("finetune.samples_step"), steps, value=at, key="samples_step")
    first: dict[str, str] = {}
    for event in seen:
        first.setdefault(event["question"], event["answer"])
    rows = [
        {
            t("finetune.sample_kind"): t(f"finetune.kind_{event.get('kind', 'held_out')}"),
            t("finetune.sample_question"): event["question"],
            t("finetune.sample_before"): first[event["question"]],
            t("finetune.sample_now"): event["answer"],
            t("finetune.sample_reference"): event.get("reference") or "–",
        }
        for event in seen
        if event["step"] == at
    ]
    st.table(rows)


def smoothed(values: Sequence[float]) -> list[float]:
    """An exponential mean, right from the first value on (Adam's correction)."""
    found, mean = [], 0.0
    for count, value in enumerate(values, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        found.append(mean / (1 - SMOOTHING**count))
    return found


def _of(events: Sequence[Event], name: str) -> list[Event]:
    return [event for event in events if event.get("event") == name]


def _thinned(steps: list[Event]) -> list[Event]:
    every = max(1, len(steps) // SHOWN_POINTS)
    return [*steps[:-1:every], steps[-1]] if steps else []
