"""The first visit: a model is fetched without anybody having to choose one."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import Task
from llm.catalogue.lookup import entries, entries_for, starter_id, where
from llm.sources import jobs
from ui.shared.download import download_progress
from ui.shared.i18n import t
from ui.shared.units import readable_bytes


def fetch_starter(task: Task) -> bool:
    """Begins the starter's download when no model of the task is here, and shows how far it is. Whether it did."""
    if any(where(entry) for entry in entries_for(task)):
        return False
    entry = next((entry for entry in entries() if entry.id == starter_id(task)), None)
    if entry is None:
        st.warning(t("starter.none"))
        return False
    if jobs.get(entry.id) is None:
        jobs.start(entry.id)
    st.markdown(t("starter.fetching", model=entry.name, size=readable_bytes(entry.size_bytes)))
    download_progress(entry)
    return True
