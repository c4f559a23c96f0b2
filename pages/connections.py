"""Connections: models that other servers run, used here; and the models here, used by other programs."""

from __future__ import annotations

import streamlit as st

from ui.connections_keys import own_api
from ui.connections_servers import other_servers
from ui.i18n import t

SECTIONS = {"servers": other_servers, "api": own_api}


def page() -> None:
    st.title(t("connections.title"), anchor=False)
    chosen = st.segmented_control(
        t("connections.title"),
        list(SECTIONS),
        default="servers",
        required=True,
        key="connections.section",
        format_func=lambda name: t(f"connections.section_{name}"),
        label_visibility="collapsed",
    )
    SECTIONS[chosen or "servers"]()


page()
