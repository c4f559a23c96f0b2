"""A page in sections, of which one is drawn at a time: what nobody looks at is not read."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ui.shared.i18n import t


def sections(page: str, drawn_by: dict[str, Callable[[], None]]) -> None:
    """A switch between a page's sections, and the chosen one. The first stands when the page opens.

    The words are `<page>.title` and `<page>.section_<name>`.
    """
    names = list(drawn_by)
    chosen = st.segmented_control(
        t(f"{page}.title"),
        names,
        default=names[0],
        required=True,
        key=f"{page}.section",
        format_func=lambda name: t(f"{page}.section_{name}"),
        label_visibility="collapsed",
    )
    drawn_by[chosen or names[0]]()
