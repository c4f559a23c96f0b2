"""What an answer rests on: marked sentences, passages, the page on which one stands, and the run step by step.

What is kept beside an answer names passages by their ids; their texts are asked for again whenever they are drawn, so
that what was deleted, or is another's by now, is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import streamlit as st

from llm.documents.kinds import KINDS
from llm.errors import ModelError
from llm.knowledge.answers import Way
from llm.knowledge.values import Passage
from llm.store import StoredMessage
from ui.knowledge.drawing import SUPPORT, answer_html, legend_html, passage_html
from ui.knowledge.state import library, page_image, place_on_page
from ui.shared.i18n import explain, t
from ui.shared.markdown import escaped
from ui.shared.state import UNDER_HOOD

Again: TypeAlias = Callable[[StoredMessage, Collection[int], Way | None], None]
"""Asks an answer's question once more: without some passages, or in another way."""
NEAREST = 3


@dataclass(frozen=True, slots=True)
class _Run:
    """A kept run with the passages that are still there."""

    values: Mapping[str, Any]
    passages: Mapping[int, Passage]

    def sent(self) -> list[tuple[int, int]]:
        """(number in the prompt, passage) of those that the model was given."""
        return list(enumerate(self.values.get("sent", ()), start=1))


def run_of(stored: StoredMessage) -> Mapping[str, Any] | None:
    """What is kept beside an answer of this page."""
    found = stored.meta.extra.get("knowledge")
    return found if isinstance(found, Mapping) else None


def marked_words(stored: StoredMessage) -> bool:
    """Draws an answer sentence by sentence, each with its mark. False where there is nothing to mark."""
    run = run_of(stored)
    if run is None or not run.get("sentences"):
        return False
    st.html(answer_html((one["text"], one["support"], one["passages"]) for one in run["sentences"]))
    return True


def evidence(stored: StoredMessage, again: Again) -> None:
    """Below an answer: what it rests on, or what was not found."""
    values = run_of(stored)
    if values is None:
        return
    if values["verdict"] == "without":
        st.caption(f":material/info: {t('knowledge.without_documents')}")
        return
    ids = [*values.get("sent", ()), *(one["id"] for one in values.get("found", ()))]
    run = _Run(values, library().passages(ids))
    if len(values.get("searched", ())) > 1:
        st.caption(
            t("knowledge.rewritten", question=escaped(values["searched"][-1])), help=t("knowledge.rewritten_help")
        )
    if values["verdict"] == "not_in_documents":
        _not_said(stored, run, again)
    else:
        _sources(stored, run, again)
    if st.session_state.get(UNDER_HOOD):
        from ui.knowledge.steps import steps

        steps(stored, values, run.passages)


def _not_said(stored: StoredMessage, run: _Run, again: Again) -> None:
    nearest = [one for one in run.values["found"] if one["id"] in run.passages][:NEAREST]
    if nearest:
        st.caption(t("knowledge.does_not_say_help"))
    for one in nearest:
        passage = run.passages[one["id"]]
        reason = t("knowledge.near_words", words=", ".join(one["words"])) if one["words"] else t("knowledge.near_none")
        with st.expander(f"{place_of(passage)} · {escaped(reason)}"):
            st.html(passage_html(passage.text, passage.context, words=one["words"]))
    st.button(
        t("knowledge.answer_anyway"),
        icon=":material/psychology:",
        key=f"anyway_{stored.id}",
        on_click=again,
        args=(stored, (), "without"),
    )


def _sources(stored: StoredMessage, run: _Run, again: Again) -> None:
    st.html(legend_html((name, t(f"knowledge.support_{name}")) for name in SUPPORT))
    numbers = dict(run.sent())
    if not numbers:
        return
    if run.values["way"] == "written":
        sent = t("knowledge.sent", sent=len(numbers), found=len(run.values["found"]))
        st.caption(sent, help=t("knowledge.sent_help"))

    def named(number: int) -> str:
        passage = run.passages.get(numbers[number])
        return f"{number} · {place_of(passage)}" if passage else f"{number} · {t('knowledge.gone')}"

    key = f"cited_{stored.id}"
    chosen = st.pills(t("knowledge.cited"), list(numbers), format_func=named, key=key)
    if chosen is not None and numbers[chosen] in run.passages:
        _passage(stored, run, chosen, run.passages[numbers[chosen]], again)
    elif chosen is not None:
        st.info(t("knowledge.gone"), icon=":material/delete:")
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            t("knowledge.compare"),
            icon=":material/compare:",
            key=f"compare_{stored.id}",
            type="tertiary",
            help=t("knowledge.compare_help"),
            on_click=again,
            args=(stored, (), "without"),
        )


def _passage(stored: StoredMessage, run: _Run, number: int, passage: Passage, again: Again) -> None:
    """One passage: what of it supports the answer, how near it is, and the page on which it stands."""
    lit = [
        (start, end)
        for sentence in run.values.get("sentences", ())
        for at, start, end in sentence["lit"]
        if at == number
    ]
    hit: Mapping[str, Any] = next((one for one in run.values["found"] if one["id"] == passage.id), {})
    with st.container(border=True, key=f"passage_{stored.id}"):
        st.markdown(f"**{place_of(passage)}**")
        if hit.get("above") is not None:
            st.caption(t("knowledge.above", above=f"{hit['above']:.1f}", cosine=f"{hit['similarity']:.2f}"))
        st.html(passage_html(passage.text, passage.context, lit, hit.get("words", ())))
        also = [run.passages[one] for one in hit.get("also", ()) if one in run.passages]
        for other in also:
            st.caption(f"= {place_of(other)}")
        _page(passage, [passage.text[start:end] for start, end in lit])
        st.button(
            t("knowledge.off_again"),
            icon=":material/visibility_off:",
            key=f"off_{stored.id}_{passage.id}",
            help=t("knowledge.off"),
            on_click=again,
            args=(stored, (*run.values["off"], passage.id), None),
        )


def _page(passage: Passage, sentences: Sequence[str]) -> None:
    try:
        document = library().document(passage.document_id)
        number, size, boxes = place_on_page(passage, sentences[0] if sentences else "")
        picture = page_image(document, number, size, boxes) if size else None
    except ModelError as error:
        st.caption(explain(error))
        return
    if picture is not None:
        st.image(picture, caption=t("knowledge.page_place", page=number), width="stretch")


def place_of(passage: Passage) -> str:
    """Where a passage stands, as people say it."""
    unit = KINDS[passage.kind].page if passage.kind in KINDS else ""
    label = passage.label
    last = max((page for page, _ in passage.boxes), default=passage.page)
    if unit == "page" and last > passage.page:
        label = f"{label}–{last}"
    place = t(f"knowledge.place_{unit}", label=label) if unit in ("page", "lines", "slide") else label
    return t("knowledge.passage_place", document=escaped(passage.document), place=escaped(place))
