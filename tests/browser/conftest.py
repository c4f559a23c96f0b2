"""The app running for real, and headless Chromium in front of it.

    def test_home(app, open_page):
        page = open_page(locale="zh-CN", width=400, dark=True)
        page.goto(app.url)

On a failure the app's log and a screenshot of every open page are kept under `test-results/` and the log's
end is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.app_server import REPOSITORY, AppServer
from tests.browser.chromium import launch
from tests.conftest import give_starter

RESULTS = REPOSITORY / "test-results"


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, starter_file: Path) -> Iterator[AppServer]:
    """The app with the starter chat model there, for all tests of the session."""
    home = tmp_path_factory.mktemp("home")
    give_starter(home, starter_file)
    with AppServer(home, env={"HEARTH_THREADS": "2"}) as server:
        yield server


@pytest.fixture
def new_app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., AppServer]]:
    """Starts an app of the test's own: `new_app(starter=file or None, **environment)`."""
    servers: list[AppServer] = []
    request.node.apps = servers

    def start(starter: Path | None = None, **env: str) -> AppServer:
        home = tmp_path / f"home{len(servers)}"
        home.mkdir()
        if starter is not None:
            give_starter(home, starter)
        servers.append(AppServer(home, env=env))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Opens a page in a browser context of its own: another visitor."""
    pages: list[Page] = []

    def open_one(locale: str = "en-US", width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        pages.append(context.new_page())
        return pages[-1]

    yield open_one
    if getattr(request.node, "failed", False):
        RESULTS.mkdir(exist_ok=True)
        for number, page in enumerate(pages):
            page.screenshot(path=RESULTS / f"{request.node.name}-{number}.png", full_page=True)
    for page in pages:
        page.context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """An English visitor with a wide, light window."""
    return open_page()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Marks a failed test for `open_page` and adds the logs of the apps that it used to the report."""
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
        servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, AppServer)]
        for server in [*servers, *getattr(item, "apps", ())]:
            report.sections.append((f"log of {server.url}", server.log[-4000:]))
    return report
