"""Answers as what they are: bars, boxes, masks over the picture, a time line. Nothing turned here runs a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from llm.controls import Control
from llm.tasks.labels import in_language
from llm.tasks.media import Boxes, Classified, Masks, MediaRun
from llm.tasks.sound_heads import TimeLine
from ui.shared.controls import draw_controls
from ui.shared.i18n import language, t
from ui.tasks.drawing import (
    Rectangle,
    bars,
    boxed_picture,
    colour_list,
    cut_out,
    overlaid,
    percent,
    time_line,
)

TOP_K = Control("top_k", "integer", 5, 1, 20)
SHOWN_BOXES = Control("threshold", "number", 0.5, 0.2, 0.95, 0.05)
SHOWN_SOUNDS = Control("threshold", "number", 0.1, 0.0, 0.95, 0.05)
OPACITY = Control("opacity", "number", 0.5, 0.1, 1.0, 0.05)
_VIEWS = ("overlay", "cutout")


def show(run: MediaRun, place: str) -> None:
    """Draws an answer with what can be turned of it. `place` tells the widgets of one answer from another's."""
    output = run.output
    if isinstance(output, Classified):
        _classes(run, output, place)
    elif isinstance(output, Boxes):
        _boxes(run, output, place)
    elif isinstance(output, Masks):
        _masks(run, output, place)
    else:
        _sounds(output, place)


def named(label: str) -> str:
    """A label in the visitor's language, where it is known."""
    return in_language(label, language())


def _classes(run: MediaRun, output: Classified, place: str) -> None:
    beside, found = st.columns([2, 3], gap="medium")
    beside.image(run.image)
    with found:
        count = len(output.labels)
        values = draw_controls([TOP_K], {}, "tasks.", f"{place}_classes") if count > TOP_K.default else {"top_k": count}
        st.html(bars([(named(label), score) for label, score in output.best(values["top_k"])]))
        st.caption(t(f"tasks.score_{output.meaning}"))


def _boxes(run: MediaRun, output: Boxes, place: str) -> None:
    values, labels = _turned([SHOWN_BOXES], output.labels, place)
    shown = [
        Rectangle(named(label), score, *map(float, box))
        for label, score, box in zip(output.labels, output.scores, output.boxes, strict=True)
        if score >= values["threshold"] and label in labels
    ]
    if not shown:
        st.image(run.image)
        st.info(t("tasks.nothing_found"), icon=":material/search_off:")
        return
    st.html(boxed_picture(run.image, shown, f"boxes-{place}"))
    st.caption(t("tasks.score_boxes"))


def _masks(run: MediaRun, output: Masks, place: str) -> None:
    view = "overlay"
    if output.shares is not None:
        view = st.segmented_control(
            t("tasks.view"),
            _VIEWS,
            default="overlay",
            required=True,
            format_func=lambda name: t(f"tasks.view_{name}"),
            key=f"{place}_view",
        )
    if view == "cutout" and output.shares is not None:
        drawn = cut_out(run.image, output.shares)
        with st.container(key=f"{place}_drawn"):
            st.image(drawn)
        _save(drawn, "cutout.png", place)
        return
    values, labels = _turned([OPACITY], [part.label for part in output.parts], place)
    chosen = [part for part in output.parts if part.label in labels]
    laid = overlaid(run.image, [(named(part.label), part.mask) for part in chosen], values["opacity"])
    stream = io.BytesIO()
    laid.save(stream, "PNG", compress_level=3)
    with st.container(key=f"{place}_drawn"):
        st.image(stream.getvalue())
    st.html(colour_list([(named(part.label), _of_part(part.score, part.mask)) for part in chosen]))
    if any(part.score is None for part in chosen):
        st.caption(t("tasks.score_share"))
    _save(stream.getvalue(), "masks.png", place)


def _of_part(score: float | None, mask: np.ndarray) -> str:
    return percent(float(mask.mean()) if score is None else score)


def _sounds(output: TimeLine, place: str) -> None:
    order = np.argsort(-output.means, kind="stable")
    many = len(order) > TOP_K.default
    controls = [SHOWN_SOUNDS, *([TOP_K] if many else [])]
    values = draw_controls(controls, {}, "tasks.", f"{place}_sounds")
    order = order[: values.get("top_k", len(order))]
    labels = [named(output.labels[at]) for at in order]
    st.html(time_line(labels, output.spans_s, output.scores[:, order], values["threshold"]))
    st.html(bars([(label, float(output.means[at])) for label, at in zip(labels, order, strict=True)]))
    st.caption(t("tasks.score_mean"))


def _turned(controls: Sequence[Control], labels: Sequence[str], place: str) -> tuple[dict[str, Any], set[str]]:
    """Draws controls and, where there are several labels, which of them are shown."""
    values = draw_controls(controls, {}, "tasks.", f"{place}_shown")
    known = list(dict.fromkeys(labels))
    if len(known) < 2:
        return values, set(known)
    chosen = st.pills(
        t("tasks.labels"),
        known,
        selection_mode="multi",
        format_func=named,
        key=f"{place}_labels",
        help=t("tasks.labels_help"),
    )
    return values, set(chosen or known)


def _save(drawn: bytes, name: str, place: str) -> None:
    st.download_button(
        t("tasks.save_png"),
        drawn,
        file_name=name,
        mime="image/png",
        icon=":material/download:",
        key=f"{place}_save",
        on_click="ignore",
        type="tertiary",
    )
