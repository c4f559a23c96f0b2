"""A small memory in the visitor's browser: a cookie, set from a page."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  const secure = location.protocol === "https:" ? "; Secure" : ""
  document.cookie = `${data.name}=${data.value}; path=/; max-age=${data.seconds}; SameSite=Strict${secure}`
}
"""

_component = st.components.v2.component("hearth_remember", js=_SCRIPT)


def remember(name: str, value: str, days: int = 365) -> None:
    """Keeps a plain word in the visitor's browser; `st.context.cookies` has it on the next visit. 0 days forgets it."""
    if not (name.isidentifier() and value.isalnum()):
        raise ValueError(f"only plain words can be kept in a cookie, not {name}={value}")
    _component(key=f"remember_{name}", data={"name": name, "value": value, "seconds": days * 86_400}, height=1)
