"""Connections: models that other servers run, used here; and the models here, used by other programs."""

from __future__ import annotations

import streamlit as st

from ui.connections.keys import own_api
from ui.connections.servers import other_servers
from ui.shared.i18n import t
from ui.shared.sections import sections


def page() -> None:
    st.title(t("connections.title"), anchor=False)
    sections("connections", {"servers": other_servers, "api": own_api})


page()
