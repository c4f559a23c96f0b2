"""What a visitor sees when a page breaks: a sentence of ours, never a library's box with links to elsewhere."""

from __future__ import annotations

import logging

import streamlit as st

from ui.shared.i18n import t

log = logging.getLogger(__name__)


def on_script_error(error: Exception) -> bool:
    """Streamlit's hook for whatever a page, a fragment or a callback raised. True: it has been shown."""
    log.error("The page broke", exc_info=error)
    st.error(t("app.broke"), icon=":material/error:")
    return True
