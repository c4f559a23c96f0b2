"""Tasks: one job, one form, with a model that is trained for it."""

from __future__ import annotations

import streamlit as st

from ui.shared.i18n import t
from ui.tasks.cards import GROUPS, cards
from ui.tasks.drawing import STYLE
from ui.tasks.form import form
from ui.tasks.state import chosen_job


def page() -> None:
    st.html(STYLE)
    here = {name: name for group in GROUPS.values() for name, card in group.items() if not card.page}
    task = here.get(chosen_job())  # type: ignore[call-overload]
    if task is not None:
        form(task)
        return
    st.title(t("tasks.title"), anchor=False)
    st.markdown(t("tasks.intro"))
    cards()


page()
