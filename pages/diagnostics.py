"""Diagnostics: is this machine ready, what does it do now, how fast will it be, and what to put in a bug report."""

from __future__ import annotations

import streamlit as st

from ui import diagnostics_checks, diagnostics_live, diagnostics_more
from ui.i18n import t

SECTIONS = {
    "checks": diagnostics_checks.draw,
    "live": diagnostics_live.draw,
    "self_test": diagnostics_more.self_test,
    "log": diagnostics_more.log,
    "report": diagnostics_more.report,
}


def page() -> None:
    st.title(t("diagnostics.title"), anchor=False)
    st.markdown(t("diagnostics.subtitle"))
    # One section at a time, so that nothing is read that nobody looks at.
    chosen = st.segmented_control(
        t("diagnostics.title"),
        list(SECTIONS),
        default="checks",
        required=True,
        key="diagnostics_section",
        format_func=lambda name: t(f"diagnostics.tab_{name}"),
        label_visibility="collapsed",
    )
    SECTIONS[chosen or "checks"]()


page()
