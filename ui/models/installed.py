"""The models on this machine: size, last use, check of the files, deletion, and copies that lie twice."""

from __future__ import annotations

import streamlit as st

from llm.catalogue import library, lookup
from llm.catalogue.entry import ModelEntry
from llm.catalogue.library import Check, Holding, Place
from llm.jobs import JobRecord, jobs
from llm.runtime import handles
from llm.sources import downloads
from ui.models.facts import ago, needs_of
from ui.shared.i18n import t
from ui.shared.jobs import job_card
from ui.shared.state import owner
from ui.shared.units import readable_bytes

KIND = "models.verify"
_FREED = "models.freed"


def on_this_machine() -> None:
    freed = st.session_state.pop(_FREED, None)
    if freed is not None:
        done = t("models.freed", size=readable_bytes(freed)) if freed else t("models.forgotten")
        st.success(done, icon=":material/delete:")
    found = library.holdings()
    if not found:
        st.info(t("models.none_here"), icon=":material/folder_off:")
        return
    st.caption(t("models.here_total", count=len(found), size=readable_bytes(sum(h.size_bytes for h in found))))
    for group in library.duplicates(found):
        where = "\n".join(f"- {entry.name}: `{place.path}`" for entry, place in group)
        spare = sum(place.size_bytes for _, place in group[1:])
        st.warning(t("models.duplicate", size=readable_bytes(spare)) + "\n" + where, icon=":material/content_copy:")
    for holding in found:
        _holding(holding)


def _holding(holding: Holding) -> None:
    entry = holding.entry
    check = _check_of(entry)
    with st.container(border=True, key=f"here_{entry.id}"):
        st.markdown(f"**{entry.name}** · {readable_bytes(holding.size_bytes)}")
        st.caption(t("models.last_used", when=ago(holding.last_used)))
        for number, place in enumerate(holding.places):
            st.caption(f"{t('models.owner_' + place.owner)}: `{place.path}` · {readable_bytes(place.size_bytes)}")
            row = st.container(horizontal=True)
            row.button(
                t("models.verify"),
                icon=":material/fact_check:",
                key=f"verify_{entry.id}_{number}",
                disabled=check is not None and check.active,
                on_click=_verify,
                args=(entry, place),
            )
            with row.popover(t("models.delete"), icon=":material/delete:", key=f"delete_{entry.id}_{number}"):
                _delete(holding, place, number)
        if check is not None and check.state == "done":
            _show(Check(**check.result))
        elif check is not None:
            job_card(check.id)


def _check_of(entry: ModelEntry) -> JobRecord | None:
    """The last check of a model's files."""
    return next((job for job in jobs().all(owner(), KIND) if job.params["model"] == entry.id), None)


def _verify(entry: ModelEntry, place: Place) -> None:
    """Callback: begins a check; what an earlier one said goes."""
    earlier = _check_of(entry)
    if earlier is not None:
        jobs().remove(earlier.id)
    jobs().start(KIND, entry.name, {"model": entry.id, "path": str(place.path)}, owner())


def _show(result: Check) -> None:
    if result.problems:
        st.error(t("models.damaged") + "\n" + "\n".join(f"- {p}" for p in result.problems), icon=":material/error:")
    elif result.by_hash:
        st.success(t("models.verified", count=result.by_hash), icon=":material/verified:")
    else:
        st.success(t("models.well_formed", count=result.by_structure), icon=":material/check:")


def _delete(holding: Holding, place: Place, number: int) -> None:
    loaded = [row for row in handles.loaded() if row.entry.id == holding.entry.id]
    if any(row.active for row in loaded):
        st.warning(t("models.delete_busy"))
        return
    if place.owner == "user":
        st.markdown(t("models.forget_question"))
    else:
        st.markdown(t("models.delete_question", model=holding.entry.name, size=readable_bytes(place.size_bytes)))
    st.button(
        t("models.delete_yes"),
        type="primary",
        on_click=_delete_now,
        args=(holding, place),
        key=f"delete_yes_{holding.entry.id}_{number}",
    )


def _delete_now(holding: Holding, place: Place) -> None:
    """Callback: what is loaded of it goes first, so that no file is held open."""
    for row in handles.loaded():
        if row.entry.id == holding.entry.id:
            handles.unload(row.key)
    st.session_state[_FREED] = library.delete(place)
    if place.owner == "user":
        lookup.forget(holding.entry.id)
    downloads.dismiss(holding.entry.id)
    check = _check_of(holding.entry)
    if check is not None:
        jobs().remove(check.id)
    needs_of.clear()
