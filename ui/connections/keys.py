"""The models here for other programs: the address, who needs a key, and the keys."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

import streamlit as st

from llm.access.addresses import is_loopback
from llm.access.api_keys import KeyInfo, Keys
from llm.config import config
from llm.errors import ModelError
from ui.shared.i18n import explain, t

_NEW = "connections.new_key"
_PROBLEM = "connections.key_problem"
_NAME = "connections.key_name"


def own_api() -> None:
    address = _address()
    st.markdown(t("connections.api_text"))
    st.code(f"{address}/v1", language=None)
    local = is_loopback(st.get_option("server.address") or "") and config().api_access != "key"
    st.markdown(t("connections.no_key_needed" if local else "connections.key_needed"))
    st.link_button(t("connections.docs"), f"{address}/v1/docs", icon=":material/menu_book:")
    st.subheader(t("connections.keys"), anchor=False)
    _new_key()
    made = Keys().listed()
    if not made:
        st.caption(t("connections.no_keys"))
    for info in made:
        _key(info)
    _create()


def _address() -> str:
    """Where the visitor reaches this server."""
    here = urlsplit(str(st.context.url or ""))
    return f"{here.scheme}://{here.netloc}" if here.netloc else f"http://127.0.0.1:{st.get_option('server.port')}"


def _new_key() -> None:
    """A key right after it was made. The next thing that the visitor does takes it off the page for ever."""
    key = st.session_state.pop(_NEW, None)
    if key:
        with st.container(border=True, key="new_key"):
            st.markdown(t("connections.copy_now"))
            st.code(key, language=None)


def _key(info: KeyInfo) -> None:
    with st.container(border=True, key=f"key_{info.name}"):
        words, button = st.columns([3, 1], vertical_alignment="center")
        words.text(info.name)
        when = datetime.fromisoformat(info.created).astimezone().strftime("%Y-%m-%d %H:%M")
        words.caption(t("connections.key_facts", when=when, ending=info.ending))
        with button.popover(t("connections.revoke"), icon=":material/block:", key=f"revoke_{info.name}"):
            st.markdown(t("connections.revoke_question"))
            st.button(
                t("connections.revoke_yes"),
                type="primary",
                on_click=_revoke,
                args=(info.name,),
                key=f"gone_{info.name}",
            )


def _revoke(name: str) -> None:
    try:
        Keys().revoke(name)
    except ModelError as error:  # another window was quicker
        st.session_state[_PROBLEM] = explain(error)


def _create() -> None:
    problem = st.session_state.pop(_PROBLEM, None)
    if problem:
        st.error(problem, icon=":material/error:")
    with st.form("create_key", border=False, clear_on_submit=True):
        st.text_input(t("connections.key_name"), max_chars=60, placeholder=t("connections.key_for"), key=_NAME)
        st.form_submit_button(t("connections.create"), icon=":material/key:", type="primary", on_click=_make)


def _make() -> None:
    """Callback: makes the key that the form names."""
    name = st.session_state[_NAME].strip()
    if not name:
        st.session_state[_PROBLEM] = t("connections.key_empty")
    elif name in {info.name for info in Keys().listed()}:
        st.session_state[_PROBLEM] = t("connections.key_taken", name=name)
    else:
        st.session_state[_NEW] = Keys().create(name)
