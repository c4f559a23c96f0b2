"""Adding a model of one's own: a folder, a .gguf file or a hub id, looked at before it is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry
from llm.errors import ModelError
from llm.machine.hardware import hardware
from llm.planning.memory import choices, verdict
from llm.runtime.acceptance import check_runs, with_sampling
from llm.sources import downloads
from llm.sources.inspect import entry_of_hub
from ui.models.facts import Needs, parameters_text, size_text
from ui.shared.i18n import explain, t
from ui.shared.units import readable_bytes

_FOUND = "models.found_entry"
_ADDED = "models.added"


def add_own() -> None:
    added = st.session_state.pop(_ADDED, None)
    if added:
        st.success(t("models.added", model=added), icon=":material/check:")
    st.markdown(t("models.add_text"))
    with st.form("add_model", border=False):
        text = st.text_input(t("models.add_what"), placeholder=t("models.add_example"), key="models.add_what")
        kind = st.segmented_control(
            t("models.source"),
            ["path", "modelscope", "huggingface"],
            default="path",
            format_func=lambda name: t(f"models.source_{name}"),
            key="models.add_kind",
            required=True,
        )
        asked = st.form_submit_button(t("models.check"), icon=":material/search:")
    if asked:
        st.session_state.pop(_FOUND, None)
        _look(text.strip().strip("\"'"), kind or "path")
    entry = st.session_state.get(_FOUND)
    if entry:
        _offer(entry)


def _look(text: str, kind: str) -> None:
    if not text:
        st.warning(t("models.add_empty"))
        return
    try:
        with st.spinner(t("models.looking")):
            if kind == "path":
                path = Path(text).expanduser()
                if not path.exists():
                    st.error(t("models.no_such_path", path=text), icon=":material/error:")
                    return
                entry = lookup.entry_of_path(path.resolve())
                check_runs(entry)
            else:
                entry = entry_of_hub(kind, text)  # type: ignore[arg-type]
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return
    st.session_state[_FOUND] = entry


def _offer(entry: ModelEntry) -> None:
    """What was found, and the button that accepts it."""
    with st.container(border=True, key="found_model"):
        st.markdown(f"**{entry.name}**")
        facts = [t(f"models.task_{entry.task}"), entry.family, t(f"models.engine_{entry.engine}")]
        facts += [parameters_text(entry.parameters), size_text(entry.size_bytes), entry.quantisation]
        if entry.context_tokens:
            facts.append(t("models.context_of", count=f"{entry.context_tokens:,}"))
        st.caption(" · ".join(fact for fact in facts if fact))
        needs = _needs(entry)
        if needs.found:
            lines = (
                f"{t('models.plan_' + c.plan.precision)}: {readable_bytes(c.fit.needed_bytes)} "
                + (":material/check:" if c.fit.ok else ":material/close:")
                for c in needs.found
            )
            st.markdown(" · ".join(lines))
        if needs.verdict == "too_big":
            st.warning(t("models.add_too_big"), icon=":material/warning:")
        if entry.is_gguf and entry.path is not None:
            st.text_input(
                t("models.mmproj"),
                entry.mmproj,
                key="models.mmproj",
                on_change=_choose_eyes,
                help=t("models.mmproj_help"),
            )
        st.button(t("models.add"), type="primary", icon=":material/add:", on_click=_add, args=(entry,), key="add")


def _choose_eyes() -> None:
    """Callback: the vision tower that was named joins what was found; one that doesn't fit is told of."""
    entry, text = st.session_state[_FOUND], st.session_state["models.mmproj"].strip().strip("\"'")
    if text and entry.path is not None:
        try:
            st.session_state[_FOUND] = lookup.with_mmproj(entry, entry.path.parent / Path(text).expanduser())
        except ModelError as error:
            st.error(explain(error), icon=":material/error:")


def _needs(entry: ModelEntry) -> Needs:
    if not entry.size_bytes and not entry.parameters:
        return Needs("unknown")
    found = tuple(choices(entry, hardware(), entry.path))
    return Needs(verdict(list(found)), found)


def _add(entry: ModelEntry) -> None:
    """Callback: keeps the entry; one from a hub begins to download."""
    taken = {known.id for known in lookup.entries()}
    name = entry.name if entry.id not in taken or not entry.path else f"{entry.name} ({entry.path.parent.name})"
    lookup.add(with_sampling(replace(entry, name=name)))
    st.session_state.pop(_FOUND, None)
    st.session_state[_ADDED] = name
    if entry.path is None:
        downloads.start(entry.id)
