"""What the Models page says of a model: whether it fits this machine, where it can be had, in words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import find, where
from llm.errors import ModelError
from llm.machine.hardware import hardware
from llm.plan import Precision
from llm.planning.memory import Choice, choices, verdict
from llm.sources import usable_sources
from ui.shared.i18n import t
from ui.shared.units import readable_bytes


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model needs here, per precision. `verdict` unknown: neither its size nor its parameters are."""

    verdict: str
    found: tuple[Choice, ...] = ()

    def bytes_in(self, precisions: Sequence[Precision]) -> int | None:
        """What the first of these precisions that can be chosen needs."""
        by_precision = {choice.plan.precision: choice.estimate.total_bytes for choice in self.found}
        return next((by_precision[name] for name in precisions if name in by_precision), None)


@st.cache_data(ttl=30, show_spinner=False, max_entries=300)
def needs_of(model_id: str) -> Needs:
    """Estimated anew every half minute, since what is free changes."""
    entry = find(model_id)
    if not entry.size_bytes and not entry.parameters:
        return Needs("unknown")
    try:
        found = tuple(choices(entry, hardware(), where(entry)))
    except ModelError:
        return Needs("unknown")
    return Needs(verdict(list(found)), found)


def source_names(entry: ModelEntry) -> str:
    """Where it can be had, in the order in which they are tried."""
    return ", ".join(t(f"models.source_{source.kind}") for source in usable_sources(entry))


def languages_text(entry: ModelEntry) -> str:
    return ", ".join(t("models.multilingual") if lang == "multilingual" else lang for lang in entry.languages)


def parameters_text(count: int) -> str:
    """`135M`, `7.6B`, as models are named."""
    if not count:
        return ""
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def size_text(size_bytes: int) -> str:
    return readable_bytes(size_bytes) if size_bytes else t("models.unknown")


def ago(moment: float) -> str:
    """When something was, in words."""
    if not moment:
        return t("models.never")
    days = int((time.time() - moment) / 86400)
    return t("models.today") if days < 1 else t("models.days_ago", count=days)
