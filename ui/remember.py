"""A small memory in the visitor's browser: a cookie, set from a page."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  document.cookie = `${data.name}=${data.value}; path=/; max-age=31536000; SameSite=Strict`
}
"""

_component = st.components.v2.component("hearth_remember", js=_SCRIPT)


def remember(name: str, value: str) -> None:
    """Keeps a plain word for a year in the visitor's browser; `st.context.cookies` has it on the next visit."""
    if not (name.isidentifier() and value.isalnum()):
        raise ValueError(f"only plain words can be kept in a cookie, not {name}={value}")
    _component(key=f"remember_{name}", data={"name": name, "value": value}, height=1)
