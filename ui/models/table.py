"""The catalogue as a table that people can filter, and the chosen model in detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import entries, where
from ui.models.detail import detail
from ui.models.facts import languages_text, needs_of, source_names
from ui.shared.i18n import t

CHOSEN = "models.chosen"
_TABLE = "models.table"


@dataclass(frozen=True, slots=True)
class Filter:
    """What to show. Empty sequences let everything through; `largest_gb` 0 is any size."""

    words: str = ""
    tasks: Sequence[str] = ()
    families: Sequence[str] = ()
    languages: Sequence[str] = ()
    licences: Sequence[str] = ()
    precisions: Sequence[str] = ()
    largest_gb: float = 0
    fitting: bool = False
    here: bool = False

    def keeps(self, entry: ModelEntry) -> bool:
        words = self.words.lower().split()
        text = f"{entry.id} {entry.name} {entry.family} {entry.licence}".lower()
        return (
            all(word in text for word in words)
            and (not self.tasks or entry.task in self.tasks)
            and (not self.families or entry.family in self.families)
            and (not self.languages or bool({*self.languages, "multilingual"} & {*entry.languages}))
            and (not self.licences or entry.licence in self.licences)
            and (not self.precisions or precision_class(entry) in self.precisions)
            and (not self.largest_gb or 0 < entry.size_bytes <= self.largest_gb * 1e9)
            and (not self.here or where(entry) is not None)
            and (not self.fitting or needs_of(entry.id).verdict in ("fits", "fits_4bit"))
        )


def precision_class(entry: ModelEntry) -> str:
    """Which choice of precision a model leaves: `gguf` and `quantised` as stored, `any` at loading."""
    if entry.is_gguf:
        return "gguf"
    return "quantised" if entry.quantisation else "any"


def catalogue() -> None:
    known = entries()
    wanted = _filter(known)
    found = [entry for entry in known if wanted.keeps(entry)]
    if not found:
        st.info(t("models.none_found"), icon=":material/search_off:")
        return
    table, beside = st.columns([3, 2], gap="medium")
    with table:
        st.caption(t("models.found", count=len(found), total=len(known)))
        chosen = _table(found)
    ids = [entry.id for entry in found]
    if chosen and st.session_state.get(_TABLE + ".seen") != chosen:
        st.session_state[_TABLE + ".seen"] = chosen
        st.session_state[CHOSEN] = chosen
    if st.session_state.get(CHOSEN) not in ids:
        st.session_state[CHOSEN] = ids[0]
    names = {entry.id: entry.name for entry in found}
    with beside:
        picked = st.selectbox(t("models.choose"), ids, key=CHOSEN, format_func=lambda model_id: names[model_id])
        detail(next(entry for entry in found if entry.id == picked))


def _filter(known: list[ModelEntry]) -> Filter:
    words = st.text_input(
        t("models.search"), key="models.words", placeholder=t("models.search"), label_visibility="collapsed"
    )
    tasks = st.pills(
        t("models.task"),
        sorted({entry.task for entry in known}),
        selection_mode="multi",
        format_func=lambda task: t(f"models.task_{task}"),
        key="models.tasks",
        label_visibility="collapsed",
    )
    with st.expander(t("models.more_filters")):
        fitting = st.toggle(t("models.only_fitting"), key="models.fitting")
        here = st.toggle(t("models.only_here"), key="models.only_here")
        families = st.multiselect(t("models.family"), sorted({e.family for e in known}), key="models.families")
        languages = st.multiselect(
            t("models.languages"),
            sorted({lang for e in known for lang in e.languages if lang != "multilingual"}),
            key="models.languages",
        )
        licences = st.multiselect(
            t("models.licence"), sorted({e.licence for e in known if e.licence}), key="models.licences"
        )
        precisions = st.multiselect(
            t("models.precision"),
            ["any", "gguf", "quantised"],
            format_func=lambda name: t(f"models.precision_{name}"),
            key="models.precisions",
        )
        largest = st.slider(t("models.largest"), 0, 40, 0, format="%d GB", key="models.largest", help=t("models.any"))
    return Filter(words, tasks, families, languages, licences, precisions, largest, fitting, here)


def _table(found: list[ModelEntry]) -> str | None:
    """Draws the table; the id of the row that is selected."""
    shown = st.dataframe(
        [_row(entry) for entry in found],
        hide_index=True,
        height=min(38 + 35 * len(found), 600),
        on_select="rerun",
        selection_mode="single-row",
        key=_TABLE,
        placeholder="",
        column_config={
            "name": st.column_config.TextColumn(t("models.name"), pinned=True),
            "is_here": st.column_config.CheckboxColumn(t("models.is_here")),
        }
        | {name: st.column_config.TextColumn(t(f"models.{name}")) for name in _COLUMNS}
        | {name: st.column_config.NumberColumn(t(f"models.{name}"), format=form) for name, form in _NUMBERS.items()},
    )
    rows = shown.get("selection", {}).get("rows", [])
    return found[rows[0]].id if rows and rows[0] < len(found) else None


_COLUMNS = ("fit", "task", "family", "languages", "licence", "precision", "sources")
# Kept as numbers, so that a click on the head sorts them; formats of a table's number column.
_NUMBERS = {"parameters": "compact", "size": "bytes", "need_16": "bytes", "need_4": "bytes", "context": "localized"}


def _row(entry: ModelEntry) -> dict[str, str | float | bool | None]:
    needs = needs_of(entry.id)
    return {
        "name": entry.name,
        "fit": t(f"models.fit_{needs.verdict}"),
        "is_here": where(entry) is not None,
        "task": t(f"models.task_{entry.task}"),
        "family": entry.family,
        "parameters": entry.parameters or None,
        "size": entry.size_bytes or None,
        "need_16": needs.bytes_in(("bfloat16", "float16", "float32", "file")),
        "need_4": needs.bytes_in(("int4", "int8")),
        "context": entry.context_tokens or None,
        "languages": languages_text(entry),
        "licence": entry.licence,
        "precision": t(f"models.precision_{precision_class(entry)}"),
        "sources": source_names(entry),
    }
