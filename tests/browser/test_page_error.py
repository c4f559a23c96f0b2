"""Whatever breaks in a page, a fragment or a callback: the visitor reads our sentence, never a library's box."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app_server import REPOSITORY, AppServer

SCRIPT = """
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ui.app.page_error import on_script_error


def broken():
    raise RuntimeError("an inner detail")


@st.fragment
def part():
    if st.button("in a fragment"):
        broken()
    if st.button("twice in a fragment"):
        st.button("same", key="same")
        st.button("same", key="same")


if get_script_run_ctx(suppress_warning=True):
    st.button("in a callback", on_click=broken)
    part()
    if st.button("in the page"):
        broken()
else:
    app = st.App(__file__, on_script_error=on_script_error)
"""


@pytest.mark.parametrize("where", ["in the page", "in a callback", "in a fragment", "twice in a fragment"])
def test_a_fault_is_told_in_our_words_and_logged(breaking: AppServer, page: Page, where: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(breaking.url)
    page.get_by_role("button", name=where, exact=True).click(timeout=30_000)
    expect(page.get_by_text("Something in this page broke")).to_be_visible(timeout=30_000)
    words = page.inner_text("body")
    for foreign in ("inner detail", "Traceback", "DuplicateElement", "Ask Google", "Ask ChatGPT", "streamlit.io"):
        assert foreign not in words
    assert not page.locator("a[href*='google'], a[href*='chatgpt'], a[href*='streamlit']").count()
    assert all(url.startswith((breaking.url, "data:", "blob:")) for url in asked)
    assert "The page broke" in breaking.log


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("breaking")
    (folder / "app.py").write_text(SCRIPT)
    with AppServer(folder / "home", {"PYTHONPATH": str(REPOSITORY)}, str(folder / "app.py")) as app:
        yield app
