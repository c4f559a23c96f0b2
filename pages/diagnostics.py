"""Diagnostics: is this machine ready, what does it do now, how fast will it be, and what to put in a bug report."""

from __future__ import annotations

import streamlit as st

from ui.diagnostics import checks as diagnostics_checks
from ui.diagnostics import live as diagnostics_live
from ui.diagnostics import reports as diagnostics_more
from ui.shared.i18n import t
from ui.shared.sections import sections

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
    sections("diagnostics", SECTIONS)


page()
