"""Connections: models that other servers run, used here; and the models here, used by other programs."""

from __future__ import annotations

import streamlit as st

from ui.connections_keys import own_api
from ui.connections_servers import other_servers
from ui.i18n import t
from ui.sections import sections


def page() -> None:
    st.title(t("connections.title"), anchor=False)
    sections("connections", {"servers": other_servers, "api": own_api})


page()
