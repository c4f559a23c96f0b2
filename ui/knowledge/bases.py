"""Which base is open: chosen, made, shared, renamed, deleted."""

from __future__ import annotations

import streamlit as st

from llm.errors import ModelError
from llm.knowledge.reading import default_embedder
from llm.knowledge.values import Base
from ui.knowledge.state import BASE, chosen_base, fails, is_mine, library, open_base
from ui.shared.i18n import t


def base_row() -> Base | None:
    """The choice of a base, and what can be done with it. None: there is none yet."""
    base = chosen_base()
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        if base is not None:
            known = {one.id: one for one in library().bases()}
            st.session_state[BASE] = base.id
            st.selectbox(
                t("knowledge.base"),
                list(known),
                format_func=lambda base_id: _named(known[base_id]),
                key=BASE,
                label_visibility="collapsed",
                help=t("knowledge.base_help"),
            )
            if is_mine(base):
                with st.popover("", icon=":material/settings:", help=t("knowledge.rename"), key="base_settings"):
                    _settings(base)
        with st.popover(t("knowledge.new_base"), icon=":material/add:", key="new_base"):
            _new()
    return base


def first_base() -> None:
    """Where there is no base: one is made with its first documents."""
    st.markdown(t("knowledge.first"))
    _new(scope="first")


def _named(base: Base) -> str:
    if not is_mine(base):
        return f"{base.name} · {t('knowledge.shared_by', owner=base.owner)}"
    return f"{base.name} · {t('knowledge.shared_badge')}" if base.shared else base.name


def _new(scope: str = "new") -> None:
    st.text_input(t("knowledge.new_base_name"), key=f"{scope}_name", max_chars=200)
    st.checkbox(t("knowledge.shared"), key=f"{scope}_shared")
    st.button(t("knowledge.create"), type="primary", key=f"{scope}_create", on_click=_create, args=(scope,))


def _create(scope: str) -> None:
    name = st.session_state[f"{scope}_name"].strip() or t("knowledge.title")
    base = library().create_base(name, st.session_state[f"{scope}_shared"], default_embedder())
    st.session_state[f"{scope}_name"] = ""
    open_base(base.id)


def _settings(base: Base) -> None:
    def change() -> None:
        name = st.session_state[f"name_{base.id}"].strip() or base.name
        try:
            library().change_base(base.id, name=name, shared=st.session_state[f"shared_{base.id}"])
        except ModelError as error:
            fails(error)

    def delete() -> None:
        try:
            library().delete_base(base.id)
        except ModelError as error:
            fails(error)
        open_base("")

    st.text_input(t("knowledge.new_base_name"), base.name, key=f"name_{base.id}", on_change=change, max_chars=200)
    st.checkbox(t("knowledge.shared"), base.shared, key=f"shared_{base.id}", on_change=change)
    count = len(library().documents(base.id))
    with st.expander(t("knowledge.delete_base"), icon=":material/delete:"):
        st.markdown(t("knowledge.delete_base_sure", count=count))
        st.button(t("knowledge.delete_sure"), key=f"delete_{base.id}", on_click=delete)
