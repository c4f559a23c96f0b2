"""Answers of text jobs as what they are: bars, marked text, words for gaps, another text. Nothing here runs a model."""

from __future__ import annotations

import streamlit as st

from llm.controls import Control
from llm.tasks.text_outputs import Entities, Fillings, FoundAnswers, Rewritten, TextClasses, TextRun
from ui.shared.controls import draw_controls
from ui.shared.i18n import t
from ui.tasks.answers import TOP_K, named
from ui.tasks.drawing import Span, bars, marked_text, percent

JOIN = Control("join", "toggle", False)
LEAST = Control("threshold", "number", 0.0, 0.0, 0.95, 0.05)


def show_text(run: TextRun, place: str) -> None:
    """Draws an answer with what can be turned of it. `place` tells the widgets of one answer from another's."""
    output = run.output
    if isinstance(output, TextClasses):
        _classes(output, place)
    elif isinstance(output, Entities):
        _entities(output, place)
    elif isinstance(output, FoundAnswers):
        _answers(output, place)
    elif isinstance(output, Fillings):
        _fillings(output)
    else:
        _rewritten(output, place)
    for note in run.notes:
        st.caption(t(f"tasks.note_{note.code}", **note.values))


def _classes(output: TextClasses, place: str) -> None:
    classes = output.classes
    many = len(classes.labels) > TOP_K.default
    count = draw_controls([TOP_K], {}, "tasks.", f"{place}_classes")["top_k"] if many else len(classes.labels)
    st.html(bars([(named(label), score) for label, score in classes.best(count)]))
    st.caption(t(f"tasks.score_{classes.meaning}"))
    if classes.meaning == "softmax" and {label.lower() for label in classes.labels} == {"positive", "negative"}:
        st.caption(t("tasks.score_no_neutral"))
    if output.parts:
        st.dataframe(
            [
                {
                    t("tasks.part"): f"{part.start}–{part.end}",
                    t("tasks.label"): named(part.label),
                    t("tasks.score"): percent(part.score),
                }
                for part in output.parts
            ],
            hide_index=True,
            key=f"{place}_parts",
        )


def _entities(output: Entities, place: str) -> None:
    controls = [LEAST, JOIN] if output.tokens else [JOIN]
    values = draw_controls(controls, {}, "tasks.", f"{place}_entities")
    found = [one for one in output.joined(values["join"]) if (one.score or 1.0) >= values.get("threshold", 0.0)]
    kinds = list(dict.fromkeys(one.label for one in found))
    chosen = set(kinds)
    if len(kinds) > 1:
        chosen = set(
            st.pills(
                t("tasks.labels"), kinds, selection_mode="multi", format_func=named, key=f"{place}_labels",
                help=t("tasks.labels_help"),
            )
            or kinds
        )  # fmt: skip
    shown = [one for one in found if one.label in chosen]
    spans = [
        Span(one.start, one.end, named(one.label), "" if one.score is None else percent(one.score)) for one in shown
    ]
    st.html(marked_text(output.text, spans))
    if not shown:
        st.info(t("tasks.no_entities"), icon=":material/search_off:")
    if output.dropped:
        st.caption(t("tasks.dropped", count=output.dropped))


def _answers(output: FoundAnswers, place: str) -> None:
    if output.no_answer or not output.answers:
        st.info(t("tasks.no_answer"), icon=":material/search_off:")
    best = output.answers[0] if output.answers else None
    if best is None:
        return
    if best.start < 0:
        st.markdown(t("tasks.own_words"))
        st.text(best.text)
        return
    if not output.no_answer:
        st.html(marked_text(output.context, [Span(best.start, best.end, "")]))
    if best.score is not None and output.no_answer_score is not None:
        rows = [(one.text, one.score or 0.0) for one in output.answers]
        st.html(bars([*rows, (t("tasks.no_answer_row"), output.no_answer_score)]))
        st.caption(t("tasks.score_answer"))


def _fillings(output: Fillings) -> None:
    for number, words in enumerate(output.words, start=1):
        if len(output.words) > 1:
            st.markdown(t("tasks.gap", number=number))
        st.html(bars([(one.word, one.score) for one in words], max(words[0].score, 1e-9)))
        st.text(words[0].sequence[:2000])
    st.caption(t("tasks.score_word"))


def _rewritten(output: Rewritten, place: str) -> None:
    with st.container(border=True, key=f"{place}_written"):
        st.text(output.text or t("tasks.nothing_written"))
    if len(output.parts) > 1:
        with st.expander(t("tasks.part_by_part", count=len(output.parts))):
            st.dataframe(
                [{t("tasks.part_given"): old, t("tasks.part_written"): new} for old, new in output.parts],
                hide_index=True,
                key=f"{place}_pairs",
            )
    st.download_button(
        t("tasks.save_text"),
        output.text,
        file_name="answer.txt",
        icon=":material/download:",
        key=f"{place}_save",
        on_click="ignore",
        type="tertiary",
    )
