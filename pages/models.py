"""Models: what there is, what fits this machine, downloads, one's own models, and what is loaded."""

from __future__ import annotations

import streamlit as st

from llm.sources import downloads
from ui.models.add import add_own
from ui.models.installed import on_this_machine
from ui.models.loaded import loaded_models
from ui.models.sources import source_settings
from ui.models.table import catalogue
from ui.shared.download import download_progress
from ui.shared.i18n import t
from ui.shared.sections import sections

SECTIONS = {
    "catalogue": catalogue,
    "here": on_this_machine,
    "loaded": loaded_models,
    "add": add_own,
    "sources": source_settings,
}


def page() -> None:
    st.set_page_config(layout="wide")
    st.title(t("models.title"), anchor=False)
    _downloads()
    sections("models", SECTIONS)


def _downloads() -> None:
    """The downloads under way, whoever began them and on whatever page."""
    from llm.catalogue.lookup import entries

    known = {entry.id: entry for entry in entries()}
    for job in downloads.all_downloads():
        if job.state not in ("done", "cancelled") and job.params["model"] in known:
            download_progress(known[job.params["model"]])


page()
