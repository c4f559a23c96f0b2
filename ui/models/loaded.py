"""What is loaded: how much memory each takes, who uses it, and how to give it back."""

from __future__ import annotations

import streamlit as st

from llm.errors import Busy
from llm.runtime import handles
from llm.runtime.registry import HandleKey
from ui.models.facts import needs_of
from ui.shared.i18n import explain, t
from ui.shared.units import readable_bytes


@st.fragment(run_every=3)
def loaded_models() -> None:
    """Live, because others load and answer meanwhile."""
    rows = handles.loaded()
    if not rows:
        st.info(t("models.none_loaded"), icon=":material/memory:")
        return
    st.caption(t("models.loaded_total", size=readable_bytes(sum(row.memory.total_bytes for row in rows))))
    for row in rows:
        with st.container(border=True, key=f"loaded_{row.key}"):
            st.markdown(f"**{row.entry.name}**")
            plan = [t(f"models.plan_{row.plan.precision}"), row.plan.device]
            if row.plan.context_tokens:
                plan.append(t("models.context_of", count=f"{row.plan.context_tokens:,}"))
            st.caption(" · ".join(plan) + (f" · {row.plan.reason}" if row.plan.reason else ""))
            memory = ", ".join(f"{readable_bytes(size)} ({name})" for name, size in row.memory.by_device.items())
            use = t("models.answering", count=row.active) if row.active else t("models.idle")
            st.text(f"{memory} · {use}")
            st.button(
                t("models.unload"),
                icon=":material/eject:",
                on_click=_unload,
                args=(row.key,),
                disabled=bool(row.active),
                help=t("models.unload_busy") if row.active else None,
                key=f"unload_{row.key}",
            )


def _unload(key: HandleKey) -> None:
    try:
        handles.unload(key)
    except Busy as error:
        st.toast(explain(error), icon=":material/error:")
    needs_of.clear()
