"""Home: what to do next, what was done last, what runs now, and what this machine has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

import streamlit as st

from llm.catalogue.lookup import entries_for, installed, where
from llm.config import config
from llm.machine.hardware import disk, hardware
from llm.runtime import handles
from ui.app.shell import PAGES, stem
from ui.shared.i18n import t
from ui.shared.markdown import escaped
from ui.shared.state import CHAT_CONVERSATION, kept, owner
from ui.shared.units import readable_bytes

RECENT = 5
_Row: TypeAlias = tuple[datetime, str, str, Callable[[], None]]
"""When it was last changed, its title, its page and what opens it."""


def page() -> None:
    st.title(t("home.title"), anchor=False)
    st.markdown(t("home.subtitle"))
    _next_step()
    _now()
    _recent()
    _ways()
    _machine()
    _models()


def _next_step() -> None:
    here = any(where(entry) for entry in entries_for("text-generation"))
    label = t("home.start" if here else "home.first_chat")
    st.page_link("pages/chat.py", label=label, icon=":material/arrow_forward:")


def _now() -> None:
    """Jobs that run, whoever began them on whatever page."""
    from llm.jobs import jobs
    from ui.shared.jobs import job_card

    active = [job for job in jobs().all(owner()) if job.active]
    if active:
        st.subheader(t("home.now"), anchor=False)
    for job in active:
        job_card(job.id)


def _recent() -> None:
    """The latest conversations and transcripts; a click opens them."""
    try:
        store = kept()
        done: list[_Row] = [
            (talk.updated_at, talk.title or t("chat.untitled"), talk.kind, _opens(talk.kind, talk.id))
            for talk in store.list("", RECENT).items
        ]
        done += [
            (item.updated_at, item.title, "speech", _opens("speech", item.id))
            for item in store.transcripts.list("", RECENT).items
        ]
    except Exception:  # a data folder that cannot be read is the Diagnostics page's to explain
        return
    if not done:
        return
    st.subheader(t("home.recent"), anchor=False)
    icons = {stem(file): icon for file, icon in PAGES}
    for place, (_, title, kind, opens) in enumerate(sorted(done, key=_when, reverse=True)[:RECENT]):
        if st.button(escaped(title), icon=icons[kind], key=f"recent_{place}", type="tertiary"):
            opens()


def _when(row: _Row) -> datetime:
    return row[0]


def _opens(kind: str, item_id: str) -> Callable[[], None]:
    def go() -> None:
        st.session_state["speech.transcript" if kind == "speech" else CHAT_CONVERSATION] = item_id
        st.switch_page(f"pages/{kind}.py")

    return go


def _ways() -> None:
    """Every page as a card, two beside each other where there is room."""
    with st.container(horizontal=True, key="home_ways"):
        for file, icon in PAGES[1:]:
            with st.container(border=True, width=340, key=f"home_way_{stem(file)}"):
                st.page_link(file, label=f"**{t(f'app.{stem(file)}')}**", icon=icon)
                st.caption(t(f"home.{stem(file)}_text"))


def _machine() -> None:
    machine, data = hardware(), disk(config().home)
    gpus = " · ".join(f"{gpu.name} ({_free(gpu.memory_free_bytes, gpu.memory_total_bytes)})" for gpu in machine.gpus)
    rows = {
        "gpu": gpus or ("Apple MPS" if machine.mps else t("home.no_gpu")),
        "memory": _free(machine.ram_free_bytes, machine.ram_total_bytes),
        "disk": _free(data.free_bytes, data.total_bytes),
        "processor": f"{machine.cpu} · {t('home.cores', count=machine.usable_cores)}",
    }
    st.subheader(t("home.machine"), anchor=False)
    for name, value in rows.items():
        label, words = st.columns([1, 3])
        label.caption(t(f"home.{name}"))
        words.text(value)


def _free(free: int | None, total: int | None) -> str:
    return t("home.free_of", free=readable_bytes(free or 0), total=readable_bytes(total or 0))


def _models() -> None:
    st.subheader(t("home.models"), anchor=False)
    here = [entry.name for entry in installed()]
    loaded = [row.entry.name for row in handles.loaded()]
    st.text(t("home.here", names=", ".join(here)) if here else t("home.none_here"))
    st.caption(t("home.loaded", names=", ".join(loaded)) if loaded else t("home.none_loaded"))


page()
