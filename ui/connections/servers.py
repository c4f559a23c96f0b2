"""Other servers as a source of models: add one, pick from what it runs, bring the list up to date, take it away."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.errors import ModelError
from llm.remote import servers as remote
from llm.runtime import handles
from ui.shared.i18n import explain, t

_FOUND = "connections.found"
_DONE = "connections.done"
_ROUND = "connections.round"
PICKED_AT_FIRST = 20
"""Of a longer list nothing is picked beforehand: somebody who adds a hub of hundreds wants a few."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a server said it runs. The key stays in the session until the models are added."""

    name: str
    base_url: str
    key: str = field(repr=False)
    entries: tuple[ModelEntry, ...]


def other_servers() -> None:
    st.markdown(t("connections.servers_text"))
    done = st.session_state.pop(_DONE, None)
    if done:
        st.success(done, icon=":material/check:")
    for name, base_url in sorted(remote.servers().items()):
        _server(name, base_url)
    found = st.session_state.get(_FOUND)
    if found is None:
        _ask()
    else:
        _pick(found)


def _server(name: str, base_url: str) -> None:
    with st.container(border=True, key=f"server_{name}"):
        entries = remote.entries_of(name)
        st.markdown(f"**{name}**")
        st.text(base_url)
        key = t("connections.with_key" if remote.key_of(base_url) else "connections.without_key")
        st.caption(f"{t('connections.models', count=len(entries))} · {key}")
        with st.expander(t("connections.show_models")):
            st.code("\n".join(entry.id for entry in entries), language=None)
        row = st.container(horizontal=True)
        again = row.button(t("connections.change"), icon=":material/checklist:", key=f"change_{name}")
        if again and _look(name, base_url, remote.key_of(base_url)):
            st.rerun()
        with row.popover(t("connections.remove"), icon=":material/delete:", key=f"remove_{name}"):
            st.markdown(t("connections.remove_question", name=name))
            st.button(t("connections.remove_yes"), type="primary", on_click=_remove, args=(name,), key=f"yes_{name}")


def _remove(name: str) -> None:
    for row in handles.loaded():  # answers in work end: their server is not to be asked any more
        if row.entry.is_remote and row.entry.id.startswith(f"{name}/"):
            handles.unload(row.key, force=True)
    remote.forget_server(name)
    st.session_state.pop(_FOUND, None)
    st.session_state[_DONE] = t("connections.removed", name=name)


def _ask() -> None:
    """The form for a new server; its fields empty themselves when one was added."""
    st.subheader(t("connections.add_server"), anchor=False)
    turn = st.session_state.setdefault(_ROUND, 0)
    with st.form("add_server", border=False):
        name = st.text_input(t("connections.name"), placeholder="gpu", max_chars=60, key=f"server_name_{turn}")
        base_url = st.text_input(
            t("connections.base_url"),
            placeholder="http://10.0.0.5:8000/v1",
            help=t("connections.base_url_help"),
            key=f"server_url_{turn}",
        )
        key = st.text_input(
            t("connections.key"),
            type="password",
            placeholder=t("connections.key_example"),
            autocomplete="off",
            key=f"server_key_{turn}",
        )
        asked = st.form_submit_button(t("connections.look"), icon=":material/search:", type="primary")
    if asked and _checked(name.strip()) and _look(name.strip(), base_url, key.strip()):
        st.rerun()


def _checked(name: str) -> bool:
    if name in remote.servers():
        st.error(t("connections.name_taken", name=name), icon=":material/error:")
        return False
    return True


def _look(name: str, base_url: str, key: str) -> bool:
    """Fetches a server's list. Whether it is there to pick from; else says why not."""
    try:
        with st.spinner(t("connections.looking")):
            found = remote.look(name, base_url, key)
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return False
    st.session_state[_FOUND] = Found(name, base_url, key, tuple(found))
    return True


def _pick(found: Found) -> None:
    st.subheader(t("connections.pick", name=found.name), anchor=False)
    if not found.entries:
        st.info(t("connections.no_models"), icon=":material/info:")
    names = {entry.id: entry.remote_id for entry in found.entries}
    known = {entry.id for entry in remote.entries_of(found.name)}
    first = [id for id in names if id in known]
    if not known and len(names) <= PICKED_AT_FIRST:
        first = list(names)
    chosen = st.multiselect(
        t("connections.pick_models"),
        list(names),
        default=first,
        format_func=lambda id: names.get(id, id),
        placeholder=t("connections.pick_none"),
        key="server_models",
    )
    row = st.container(horizontal=True)
    row.button(
        t("connections.keep"),
        type="primary",
        icon=":material/check:",
        on_click=_keep,
        args=(found, chosen),
        disabled=not chosen,
        key="server_keep",
    )
    row.button(t("connections.cancel"), on_click=lambda: st.session_state.pop(_FOUND, None), key="server_cancel")


def _keep(found: Found, chosen: list[str]) -> None:
    """Callback: the chosen models become entries of the catalogue."""
    kept = [entry for entry in found.entries if entry.id in chosen]
    remote.keep_server(found.name, found.base_url, found.key, kept)
    st.session_state.pop(_FOUND, None)
    st.session_state[_ROUND] += 1
    st.session_state[_DONE] = t("connections.kept", count=len(kept), name=found.name)
