"""What is chosen once is there again: on another page, and for whoever comes back."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from llm.store import store
from tests.pages.conftest import HOME

PAGE = """
import runpy
import streamlit as st
from ui.shared.choices import keep_choices

keep_choices()
runpy.run_path(st.session_state["test.page"])
keep_choices()
"""
"""What `ui.app.shell.run_page` does around a page; the test driver runs pages without it."""


def visit(name: str, app: AppTest | None = None) -> Any:
    app = app or AppTest.from_string(PAGE, default_timeout=30)
    app.session_state["test.page"] = str(HOME.parent / "pages" / f"{name}.py")
    app.run()
    assert not app.exception
    return app


def test_what_is_chosen_is_found_on_another_page_and_by_the_next_session(scripted):
    first = visit("chat")
    assert not first.toggle(key="app.under_hood").value
    first.toggle(key="app.under_hood").set_value(True).run()
    assert visit("image", first).toggle(key="app.under_hood").value
    first.button_group(key="image.mode").set_value("table").run()
    visit("models", first)
    assert visit("image", first).button_group(key="image.mode").value == "table"
    second = visit("image")
    assert second.button_group(key="image.mode").value == "table"
    assert visit("chat", second).toggle(key="app.under_hood").value
    assert set(store().preferences.all()) >= {"app.under_hood", "image.mode", "chat.new_model"}


def test_the_last_model_is_the_next_conversations(scripted):
    app = visit("chat")
    picker = app.selectbox(key="model_new")
    other = next(option for option in picker.options if "SmolLM2" not in option)
    chosen = picker.set_value(other).run().selectbox(key="model_new").value
    assert visit("chat").selectbox(key="model_new").value == chosen


def test_a_store_that_cannot_be_read_shuts_no_page(data_folder, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr("llm.store.preferences.Preferences.all", broken)
    visit("models")
