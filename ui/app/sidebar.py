"""On a phone the sidebar lies over the page: it closes when something in it was chosen."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
const NARROW = 768  // Streamlit's own limit, below which the sidebar covers the page

document.addEventListener("click", event => {
  const row = event.target.closest?.('[data-testid="stSidebar"] [class*="st-key-conversation_"] button')
  if (!row || row.getAttribute("data-testid") === "stPopoverButton" || window.innerWidth > NARROW) return
  setTimeout(() => document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click(), 150)
}, true)

export default function () {}
"""
_component = st.components.v2.component("hearth_sidebar", js=_SCRIPT)


def close_on_choice() -> None:
    _component(key="sidebar_closes", height=1)
