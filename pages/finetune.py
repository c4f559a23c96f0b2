"""Fine-tune: rows in, a plan, a run to watch, and what came of it."""

from __future__ import annotations

import streamlit as st

from ui.finetune.begin import begin_section
from ui.finetune.rows import rows_section
from ui.finetune.runs import one_run, runs_section
from ui.finetune.state import chosen_run
from ui.shared.i18n import t
from ui.shared.sections import sections


def page() -> None:
    run = chosen_run()
    if run is not None:
        one_run(run)
        return
    st.title(t("finetune.title"), anchor=False)
    st.markdown(t("finetune.intro"))
    sections("finetune", {"rows": rows_section, "begin": begin_section, "runs": runs_section})


page()
