"""What is wrong with an open set's rows, and one button for what can be put right."""

from __future__ import annotations

import streamlit as st

from llm.finetune.data import Dataset, save_set
from llm.finetune.doctor import CURABLE, Finding, cured, examined
from ui.finetune.state import table_changed
from ui.shared.i18n import t

NAMED_ROWS = 12


def doctor(data: Dataset) -> None:
    """Draws the findings, the worst first; nothing where there are none."""
    found = _examined(data.hash, data)
    if not found:
        st.caption(f":green[:material/check_circle:] {t('finetune.doctor_well')}")
        return
    with st.expander(
        t("finetune.doctor", count=len({row for finding in found for row in finding.rows})),
        icon=":material/stethoscope:",
        expanded=True,
    ):
        for finding in found:
            named = ", ".join(map(str, finding.rows[:NAMED_ROWS])) + (" …" if finding.rows[NAMED_ROWS:] else "")
            said = t(f"finetune.doctor_{finding.code}", count=len(finding.rows))
            st.markdown(f"**{said}** · {t('finetune.doctor_rows', rows=named)}")
        if any(finding.code in CURABLE for finding in found):
            st.button(
                t("finetune.doctor_cure"),
                icon=":material/healing:",
                key="cure",
                help=t("finetune.doctor_cure_help"),
                on_click=_cure,
                args=(data,),
            )


@st.cache_data(max_entries=8, show_spinner=False)
def _examined(data_hash: str, _data: Dataset) -> list[Finding]:
    return examined(_data.rows, _data.held_out)


def _cure(data: Dataset) -> None:
    """Callback: keeps what can be put right as the set's next version."""
    rows, held = cured(data.rows, data.held_out)
    if rows:
        save_set(data.name, rows, held, owner=data.owner, source=data.source)
        table_changed()
