"""The registry as Streamlit's shared resource. The only module of `llm` that knows Streamlit.

What pages clear with `st.cache_resource.clear()` the API no longer has, and the other way round.
"""

from __future__ import annotations

import streamlit as st

from llm.runtime.registry import Registry, process_registry


@st.cache_resource(show_spinner=False, on_release=Registry.close_all)
def shared_registry() -> Registry:
    """The process's registry, held by the cache that all sessions share."""
    return process_registry()
