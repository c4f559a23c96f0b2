"""Home: what this machine has, which models are here, and the way to every page."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.lookup import installed
from llm.config import config
from llm.machine.hardware import disk, hardware
from llm.runtime import handles
from ui.app.shell import PAGES, stem
from ui.shared.i18n import t
from ui.shared.units import readable_bytes


def page() -> None:
    st.title(t("home.title"), anchor=False)
    st.markdown(t("home.subtitle"))
    st.page_link("pages/chat.py", label=t("home.start"), icon=":material/arrow_forward:")
    _machine()
    _models()
    for file, icon in PAGES[1:]:
        with st.container(border=True):
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
