"""The login that stands before the pages when the server listens to other machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from llm import logins
from llm.config import config
from llm.store import store
from ui.state import OWNER

HASH = logins.hashed("open sesame")


@pytest.fixture
def elsewhere(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HEARTH_LOGINS", f"ann:{HASH}, bob:{logins.hashed('other')}")
    config.cache_clear()
    st.cache_resource.clear()
    before = st.get_option("server.address")
    st._config.set_option("server.address", "0.0.0.0")
    yield
    st._config.set_option("server.address", before)
    st.cache_resource.clear()


def app() -> AppTest:
    def script() -> None:
        import streamlit as st

        from ui.login import gate, leave
        from ui.state import kept

        page = gate()
        if page is not None:
            page.run()
        else:
            leave()
            kept().create_conversation("mine")
            st.write("inside")

    return AppTest.from_function(script, default_timeout=30)


def enter(page: AppTest, name: str, password: str) -> AppTest:
    page.text_input[0].set_value(name)
    page.text_input[1].set_value(password)
    return page.button[0].click().run()


def test_at_this_machine_nobody_is_asked(data_folder: Path) -> None:
    before = st.get_option("server.address")
    st._config.set_option("server.address", "127.0.0.1")
    try:
        page = app().run()
    finally:
        st._config.set_option("server.address", before)
    assert page.markdown[0].value == "inside" and OWNER not in page.session_state


def test_a_wrong_password_stays_outside(elsewhere: None) -> None:
    page = app().run()
    for name, password in (("ann", "wrong"), ("nobody", "open sesame"), ("", ""), ("bob", "open sesame")):
        page = enter(page, name, password)
        assert page.error and not page.markdown and OWNER not in page.session_state


def test_each_login_sees_its_own(elsewhere: None) -> None:
    page = enter(app().run(), "ann", "open sesame")
    assert page.markdown[0].value == "inside" and page.session_state[OWNER] == "login:ann"
    assert len(store("login:ann").list().items) >= 1
    assert not store("login:bob").list().items and not store().list().items
    page.sidebar.button[0].click().run()
    assert OWNER not in page.session_state and page.text_input


def test_without_a_password_nobody_gets_in(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEARTH_LOGINS")
    config.cache_clear()
    page = app().run()
    assert page.error and not page.text_input


def test_many_wrong_tries_wait(elsewhere: None) -> None:
    door = logins.Door()
    for _ in range(logins.FREE_TRIES):
        assert not door.opens("ann", "wrong")
    assert door.wait_s("ann") > 0 and not door.opens("ann", "open sesame")
    time.sleep(door.wait_s("ann") + 0.1)
    assert door.opens("ann", "open sesame") and not door.wait_s("ann")


def test_hashes_are_salted() -> None:
    assert logins.hashed("x") != logins.hashed("x") and "x" not in logins.hashed("x").split("$")[0][6:]
