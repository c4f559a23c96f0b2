"""What the Fine-tune page remembers of a visitor."""

from __future__ import annotations

import streamlit as st

from llm.errors import NotFound
from llm.finetune.data import Dataset, SetInfo, all_sets, load_set
from llm.finetune.run import Run, get_run
from ui.shared.state import owner

SET = "finetune.set"
"""The id of the set that is open."""
TIMES = "finetune.editor_times"
"""How often the table was saved: a new one takes the place of the old, with nothing left over of its edits."""


def chosen_run() -> Run | None:
    """The run of the address (`?run=`), if it is there and this visitor's."""
    run_id = str(st.query_params.get("run", ""))
    if not run_id:
        return None
    try:
        return get_run(run_id, owner())
    except NotFound:
        st.query_params.pop("run", None)
        return None


def open_run(run_id: str) -> None:
    """Callback: shows a run, or with an empty id the page's sections."""
    if run_id:
        st.query_params["run"] = run_id
    else:
        st.query_params.pop("run", None)


def sets() -> list[SetInfo]:
    """This visitor's sets, the newest first."""
    return all_sets(owner())


def open_set() -> Dataset | None:
    """The set that was chosen last, or the newest; None where there is none."""
    known = sets()
    if not known:
        return None
    chosen = st.session_state.get(SET)
    found = next((info for info in known if info.id == chosen), known[0])
    return load_set(found.id, owner=owner())


def table_changed() -> None:
    """A new table takes the place of the one that is shown."""
    st.session_state[TIMES] = st.session_state.get(TIMES, 0) + 1
