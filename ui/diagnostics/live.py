"""Live readings: every GPU's use, memory, temperature, power and processes; processor and memory beside them."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import streamlit as st

from llm.machine.gpus import Gpu, read_gpus
from llm.machine.hardware import hardware
from ui.diagnostics.checks import plain
from ui.shared.i18n import t
from ui.shared.units import readable_bytes

INTERVAL_S = 2.0
KEPT_S = 300
_HISTORY = "diagnostics.history"


def draw() -> None:
    """Readings now and their course over the last minutes, while the page is open."""
    st.caption(t("diagnostics.live_caption", minutes=KEPT_S // 60))
    _readings()


@st.fragment(run_every=INTERVAL_S)
def _readings() -> None:
    reading = read_gpus()
    history = _remember(reading.gpus)
    if not reading.gpus:
        st.info(t("diagnostics.live_no_gpu", detail=plain(reading.problem or "-")))
    for gpu in reading.gpus:
        _gpu(gpu, history)
    machine, system = st.columns(2)
    with machine:
        _chart(history, {"cpu": t("diagnostics.live_cpu")})
    with system:
        _chart(history, {"ram": t("diagnostics.live_ram")})


def _remember(gpus: tuple[Gpu, ...]) -> deque[dict[str, Any]]:
    """Adds a sample to this visit's history and returns it, the oldest first."""
    import psutil

    history: deque[dict[str, Any]] = st.session_state.setdefault(_HISTORY, deque(maxlen=int(KEPT_S / INTERVAL_S)))
    machine = hardware()
    used = 1 - machine.ram_free_bytes / machine.ram_total_bytes if machine.ram_total_bytes else 0
    sample: dict[str, Any] = {"at": time.time(), "cpu": psutil.cpu_percent(), "ram": round(100 * used, 1)}
    for gpu in gpus:
        sample[f"use{gpu.index}"] = gpu.use_percent
        sample[f"memory{gpu.index}"] = round(100 * gpu.memory_used_bytes / max(1, gpu.memory_total_bytes), 1)
    history.append(sample)
    while history and sample["at"] - history[0]["at"] > KEPT_S:
        history.popleft()
    return history


def _gpu(gpu: Gpu, history: deque[dict[str, Any]]) -> None:
    unknown = t("diagnostics.live_unknown")
    with st.container(border=True):
        st.markdown(f"**{plain(gpu.name)}** · {gpu.driver} · CUDA {gpu.cuda_version}")
        power = unknown if gpu.power_w is None else f"{gpu.power_w:.0f} W"
        if gpu.power_w is not None and gpu.power_limit_w is not None:
            power += f" / {gpu.power_limit_w:.0f} W"
        figures = {
            "use": unknown if gpu.use_percent is None else f"{gpu.use_percent} %",
            "memory": f"{readable_bytes(gpu.memory_used_bytes)} / {readable_bytes(gpu.memory_total_bytes)}",
            "temperature": unknown if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
            "power": power,
        }
        with st.container(horizontal=True):
            for name, value in figures.items():
                st.metric(t(f"diagnostics.live_{name}"), value, width="content")
        names = {"use": t("diagnostics.live_gpu_use"), "memory": t("diagnostics.live_gpu_memory")}
        _chart(history, {f"{name}{gpu.index}": label for name, label in names.items()})
        _processes(gpu)


def _processes(gpu: Gpu) -> None:
    if not gpu.processes:
        st.caption(t("diagnostics.live_no_processes"))
        return
    unknown = t("diagnostics.live_unknown")
    rows = [
        {
            t("diagnostics.process_name"): process.name or "-",
            t("diagnostics.process_pid"): process.pid,
            t("diagnostics.process_memory"): unknown
            if process.memory_bytes is None
            else readable_bytes(process.memory_bytes),
        }
        for process in gpu.processes
    ]
    st.dataframe(rows, hide_index=True)


def _chart(history: deque[dict[str, Any]], lines: dict[str, str]) -> None:
    """Lines over minutes before now, 0 to 100."""
    import altair as alt

    if len(lines) == 1:
        st.caption(next(iter(lines.values())))
    now = history[-1]["at"]
    points = [
        {"minutes": (sample["at"] - now) / 60, "value": sample[key], "line": label}
        for sample in history
        for key, label in lines.items()
        if sample.get(key) is not None
    ]
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_line(interpolate="monotone", point=len(history) < 2)
        .encode(
            x=alt.X(
                "minutes:Q",
                title=None,
                scale=alt.Scale(domain=[-KEPT_S / 60, 0]),
                axis=alt.Axis(format="d", tickCount=6),
            ),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("line:N", title=None, legend=alt.Legend(orient="top") if len(lines) > 1 else None),
        )
        .properties(height=220)
    )
    st.altair_chart(chart)
