"""Every page, in both themes and languages, by axe-core: no serious finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chat_page import ChatPage
from ui.app.shell import PAGES, stem

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
ADDRESSES = ["" if stem(file) == "home" else stem(file) for file, _ in PAGES]


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or critical, with the element that it finds it at."""
    # Playwright's evaluation is allowed by the page's policy, a script element is not.
    page.evaluate(AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
            .filter(each => ["serious", "critical"].includes(each.impact))
            .flatMap(each => each.nodes.map(node => ({ rule: each.id, html: node.html, at: node.target,
                                                       why: node.failureSummary })))"""
    )
    return [json.dumps(each, ensure_ascii=False) for each in found]


def settled(page: Page) -> None:
    expect(page.get_by_test_id("stSidebarNav")).to_be_visible(timeout=30_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1_000)  # live parts redraw each second: there is no end to wait for


@pytest.mark.parametrize(("dark", "locale"), [(False, "en-US"), (True, "zh-CN")])
def test_axe_finds_nothing_serious_on_any_page(
    app: AppServer, open_page: Callable[..., Page], dark: bool, locale: str
) -> None:
    page = open_page(locale=locale, dark=dark)
    found = []
    for address in ADDRESSES:
        page.goto(f"{app.url}/{address}")
        settled(page)
        found += [f"/{address}: {finding}" for finding in serious(page)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious_in_a_conversation(
    app: AppServer, open_page: Callable[..., Page], dark: bool
) -> None:
    page = open_page(dark=dark)
    chat = ChatPage(page, app.url).open()
    chat.ask("One short word, please.")
    chat.wait_finished()
    settled(page)
    assert not (found := serious(page)), "\n".join(found)
