"""The login that stands before the pages when the server listens to other machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from llm.access import logins
from llm.config import config
from llm.store import store
from ui.shared.state import OWNER

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

        from ui.app.login import gate, leave
        from ui.shared.state import kept

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


def test_a_pass_is_its_holders_until_it_ends_or_the_password_changes(
    elsewhere: None, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = logins.pass_for("ann")
    assert note.isalnum() and logins.holder(note) == "ann"
    assert (data_folder / "login_secret").stat().st_mode & 0o077 == 0
    name, end, signature = note.split("x")
    other = b"bob".hex()
    later = f"{int(end, 16) + 1:x}"
    for forged in (f"{other}x{end}x{signature}", f"{name}x{later}x{signature}", note[:-1], "", "x", "zz", "a" * 9999):
        assert logins.holder(forged) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86_400)
    assert logins.holder(note) is None
    monkeypatch.undo()
    monkeypatch.setenv("HEARTH_HOME", str(data_folder))
    monkeypatch.setenv("HEARTH_LOGINS", f"ann:{logins.hashed('new password')}")
    config.cache_clear()
    assert logins.holder(note) is None


def test_a_pass_in_the_browser_opens_and_logging_out_ends_it(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cookies = {"hearth_pass": logins.pass_for("ann")}
    monkeypatch.setattr(type(st.context), "cookies", property(lambda _: cookies))
    page = app().run()
    assert page.markdown[0].value == "inside" and page.session_state[OWNER] == "login:ann"
    page.sidebar.button[0].click().run()
    assert page.text_input and OWNER not in page.session_state
    page = enter(page, "bob", "other")
    assert page.session_state[OWNER] == "login:bob"
    cookies["hearth_pass"] = "forged"
    assert app().run().text_input


def test_logins_that_are_set_up_are_asked_for_on_this_machine_too(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy on the same machine makes everybody look as if they sat at it."""
    assert st.get_option("server.address") == "127.0.0.1"
    assert "Who is there?" not in [title.value for title in app().run().title]
    for logins_set in (f"ann:{HASH}", "ann:not-a-hash"):
        monkeypatch.setenv("HEARTH_LOGINS", logins_set)
        config.cache_clear()
        assert "Who is there?" in [title.value for title in app().run().title] or logins_set.endswith("not-a-hash")


def test_a_request_that_a_proxy_passed_on_meets_a_closed_door(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ui.app import login

    monkeypatch.setattr(login, "is_local", lambda address, ends, headers: False)
    assert "Who is there?" in [title.value for title in app().run().title]
