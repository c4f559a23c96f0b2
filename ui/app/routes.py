"""HTTP routes that the server has beside the pages."""

from __future__ import annotations

import streamlit as st
from starlette.routing import BaseRoute

import llm.api


def routes() -> list[BaseRoute]:
    """All routes, in the order in which they are tried."""
    return llm.api.routes(address=st.get_option("server.address") or "0.0.0.0")
