"""What a visitor chose is found again: on other pages, after a reload, in the next session."""

from __future__ import annotations

import logging
from typing import Any

import streamlit as st

from ui.shared.state import CHAT_NEW_MODEL, UNDER_HOOD, kept

CHOICES = (
    CHAT_NEW_MODEL,
    UNDER_HOOD,
    "image.model",
    "image.chat",
    "image.mode",
    "speech.model",
    "speech.options",
)
"""Keys of the session whose JSON values are kept: what is chosen once and meant for good."""
_KNOWN = "app.choices"
_log = logging.getLogger(__name__)


def keep_choices() -> None:
    """Keeps what is chosen otherwise now, and puts what is known where a new session or another page lost it.

    Called before and after each run of a page: widgets change before it, and the page itself while it runs.
    """
    try:
        known: dict[str, Any] = st.session_state.get(_KNOWN) or kept().preferences.all()
        for key in CHOICES:
            value = st.session_state.get(key)
            if value is None:
                st.session_state.update({key: known[key]} if key in known else {})
            elif value != known.get(key):
                kept().preferences.set(key, value)
                known[key] = value
        st.session_state[_KNOWN] = known
    except Exception:  # a data folder that cannot be read or written must not shut the pages that say so
        _log.warning("Choices could not be kept", exc_info=True)
