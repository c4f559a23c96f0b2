"""The first visit: a model is fetched without anybody having to choose one."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry, Task
from llm.catalogue.lookup import entries, entries_for, starter_id, where
from llm.config import config
from llm.machine.hardware import disk
from llm.sources import downloads
from ui.shared.download import begin_download, download_progress
from ui.shared.i18n import language, t
from ui.shared.units import readable_bytes

ROOM = 3
"""Times its size that a starter in the visitor's language finds free on the disk: parts, their joining, some air."""


def _starter(task: Task) -> ModelEntry | None:
    """The starter whose download was begun; else the one in the visitor's language where it has room, or the smallest.

    A change of the language, or a visitor who reads another, does not begin a second download.
    """
    known = {entry.id: entry for entry in entries()}
    for begun in dict.fromkeys((starter_id(task, language()), starter_id(task), starter_id(task, "zh"))):
        job = downloads.get(begun) if begun in known else None
        if job is not None and job.state not in ("done", "cancelled"):
            return known[begun]
    wanted = known.get(starter_id(task, language()))
    if wanted is not None and (disk(config().home).free_bytes or 0) >= ROOM * wanted.size_bytes:
        return wanted
    return known.get(starter_id(task))


def fetch_starter(task: Task) -> bool:
    """Begins the starter's download when no model of the task is here, and shows how far it is.

    A download that the visitor ended is not begun again behind their back, and one whose file was removed is not
    waited for: both are offered. Returns whether the starter is what the page waits for, and drawn.
    """
    if any(where(entry) for entry in entries_for(task)):
        return False
    entry = _starter(task)
    if entry is None:
        st.warning(t("starter.none"))
        return False
    if downloads.get(entry.id) is None:
        downloads.start(entry.id)
    job = downloads.get(entry.id)
    size = readable_bytes(entry.size_bytes)
    if job is not None and job.state in ("done", "cancelled"):
        st.info(t("starter.absent", model=entry.name, size=size), icon=":material/info:")
        label = t("picker.get", size=size)
        st.button(label, icon=":material/download:", on_click=begin_download, args=(entry.id,), key=f"get_{entry.id}")
        return True
    st.markdown(t("starter.fetching", model=entry.name, size=size))
    download_progress(entry)
    return True
