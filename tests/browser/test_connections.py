"""The Connections page in a real browser: a server is added and its model answers in the chat; a key opens the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI
from playwright.sync_api import Page, expect

from tests.api.conftest import Served, free_port, make_home, serve_command, start, stop  # noqa: F401
from tests.browser.app_server import AppServer
from tests.conftest import STARTER

SHOWN = 30_000


@pytest.fixture
def elsewhere(make_home: Callable[[], Path]) -> Iterator[Served]:  # noqa: F811
    port = free_port()
    server = start(serve_command(port), make_home(), port, HEARTH_API_ACCESS="key", HEARTH_API_KEYS="sk-there")
    yield server
    stop(server)


def test_a_server_is_added_and_a_key_made(
    new_app: Callable[..., AppServer], elsewhere: Served, open_page: Callable[..., Page]
) -> None:
    app = new_app(HEARTH_API_ACCESS="key")
    page = open_page()
    page.goto(f"{app.url}/connections")
    page.get_by_role("textbox", name="Short name").fill("there", timeout=SHOWN)
    page.get_by_role("textbox", name="Base URL").fill(f"{elsewhere.url}/v1")
    page.get_by_role("textbox", name="API key").fill("sk-there")
    page.get_by_role("button", name="Fetch its models").click()
    page.get_by_role("button", name="Add these").click(timeout=SHOWN)
    expect(page.get_by_text("can be used in the chat")).to_be_visible(timeout=SHOWN)

    page.get_by_text("Models here, for other programs").click()
    page.get_by_role("textbox", name="Who or what is it for?").fill("laptop", timeout=SHOWN)
    page.get_by_role("button", name="Create a key").click()
    shown = page.get_by_text(re.compile(r"^hearth-\S+$"))
    expect(shown).to_be_visible(timeout=SHOWN)
    key = shown.inner_text().strip()
    client = OpenAI(base_url=f"{app.url}/v1", api_key=key, timeout=60)
    answer = client.chat.completions.create(
        model=f"there/{STARTER}", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
    )
    assert answer.usage and answer.usage.completion_tokens == 4, "asked here, answered there"
    page.reload()
    expect(page.get_by_text("Connections", exact=True).first).to_be_visible(timeout=SHOWN)
    page.get_by_text("Models here, for other programs").click()
    expect(page.get_by_text("ends in")).to_be_visible(timeout=SHOWN)
    assert key not in page.content() and key not in app.log and "sk-there" not in app.log
