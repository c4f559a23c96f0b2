"""The Models page in a real browser: downloads followed, paused and cancelled; a model added, loaded, unloaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm.catalogue.entry import ModelEntry
from llm.catalogue.toml_file import write_entries
from tests.browser.app_server import AppServer
from tests.sources import index_server
from tests.sources.index_server import Index
from tests.sources.test_package_index import model_in

ENDED = 60_000


@pytest.fixture
def slow_index() -> Iterator[Index]:
    """A package index at 300 KB/s, so that a page on a busy machine still sees each part go by."""
    index = Index(bytes_s=300_000)
    server = index_server.serve(index)
    yield index
    server.shutdown()
    server.server_close()


@pytest.fixture
def models_app(new_app: Callable[..., AppServer], slow_index: Index) -> tuple[AppServer, ModelEntry]:
    """An app that knows one more model, of 6 MB in three wheels of the slow index."""
    app = new_app(PIP_CONFIG_FILE="/dev/null", PIP_INDEX_URL=slow_index.url, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    entry = model_in(slow_index, size=2_000_000)
    write_entries(app.home / "models.toml", [entry])
    return app, entry


def open_catalogue(page: Page, app: AppServer, words: str) -> None:
    page.goto(f"{app.url}/models")
    search = page.get_by_label("Search models")
    expect(search).to_be_visible(timeout=ENDED)
    search.fill(words)
    search.press("Enter")


def begin(page: Page, app: AppServer) -> None:
    open_catalogue(page, app, "Parted")
    page.get_by_role("button", name=re.compile("Get this model")).click(timeout=ENDED)
    expect(page.get_by_role("progressbar").first).to_be_visible(timeout=ENDED)


def bytes_done(page: Page) -> float:
    """What the progress line says has arrived, in MB."""
    line = page.get_by_text(re.compile(r"Parted · [\d.]+ (KB|MB) of")).first
    expect(line).to_be_visible(timeout=ENDED)
    found = re.search(r"Parted · ([\d.]+) (KB|MB)", line.inner_text())
    assert found
    return float(found[1]) / (1000 if found[2] == "KB" else 1)


def test_a_download_survives_page_change_and_reload_and_is_followed_to_the_end(
    models_app: tuple[AppServer, ModelEntry], page: Page, slow_index: Index
) -> None:
    app, entry = models_app
    begin(page, app)
    first = bytes_done(page)
    page.goto(f"{app.url}/")
    expect(page.get_by_role("heading", name="Hearth").or_(page.get_by_text("Start")).first).to_be_visible(timeout=ENDED)
    page.goto(f"{app.url}/models")
    assert bytes_done(page) >= first
    expect(page.get_by_text(re.compile(r"KB/s|MB/s")).first).to_be_visible(timeout=ENDED)
    slow_index.bytes_s = 0
    expect(page.get_by_role("progressbar")).to_have_count(0, timeout=ENDED)
    assert (app.home / "models" / entry.id / "model.gguf").stat().st_size == 6_000_000
    open_catalogue(page, app, "Parted")
    expect(page.get_by_text("On this machine").last).to_be_visible(timeout=ENDED)


def test_a_download_is_paused_resumed_and_cancelled(
    models_app: tuple[AppServer, ModelEntry], page: Page, slow_index: Index
) -> None:
    app, entry = models_app
    begin(page, app)
    page.wait_for_function("document.body.innerText.match(/Parted · [3-9][.\\d]* MB of/)", timeout=ENDED)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("· Paused")).to_be_visible(timeout=ENDED)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("progressbar").first).to_be_visible(timeout=ENDED)
    assert bytes_done(page) >= 0
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name=re.compile("Get this model"))).to_be_visible(timeout=ENDED)
    assert slow_index.served["part-0"] == 1
    left = [p for p in (app.home / "models").rglob("*") if p.is_file() and p.stat().st_size > 100_000]
    assert not left and not (app.home / "models" / entry.id).exists()


@pytest.mark.slow
def test_a_killed_app_goes_on_with_its_download(
    models_app: tuple[AppServer, ModelEntry], page: Page, slow_index: Index
) -> None:
    app, entry = models_app
    begin(page, app)
    page.wait_for_function("document.body.innerText.match(/Parted · [3-9][.\\d]* MB of/)", timeout=ENDED)
    page.wait_for_timeout(800)
    app.kill()
    slow_index.bytes_s = 0
    app.start()
    open_catalogue(page, app, "Parted")
    expect(page.get_by_role("progressbar").or_(page.get_by_text("On this machine").last).first).to_be_visible(
        timeout=ENDED
    )
    file = app.home / "models" / entry.id / "model.gguf"
    for _ in range(300):
        if file.exists():
            break
        page.wait_for_timeout(200)
    assert file.stat().st_size == 6_000_000
    assert slow_index.served["part-0"] == 1


def test_a_model_is_added_loaded_and_unloaded(
    new_app: Callable[..., AppServer], page: Page, starter_file: Path
) -> None:
    app = new_app()
    page.goto(f"{app.url}/models")
    page.get_by_role("radio", name="Add your own").or_(page.get_by_role("button", name="Add your own")).first.click(
        timeout=ENDED
    )
    page.get_by_label("Path or hub id").fill(str(starter_file))
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("button", name="Add this model").click(timeout=ENDED)
    expect(page.get_by_text("was added")).to_be_visible(timeout=ENDED)
    open_catalogue(page, app, starter_file.stem)
    page.get_by_role("button", name="Load", exact=True).click(timeout=ENDED)
    expect(page.get_by_text("is loaded.")).to_be_visible(timeout=ENDED)
    page.get_by_role("radio", name="Loaded").or_(page.get_by_role("button", name="Loaded")).first.click()
    expect(page.get_by_text("idle")).to_be_visible(timeout=ENDED)
    page.get_by_role("button", name="Unload").click()
    expect(page.get_by_text("No model is loaded.")).to_be_visible(timeout=ENDED)


def test_the_page_fits_a_narrow_screen_in_chinese(app: AppServer, open_page: Callable[..., Page]) -> None:
    page = open_page(locale="zh-CN", width=400, dark=True)
    page.goto(f"{app.url}/models")
    expect(page.get_by_role("heading", name="模型").first).to_be_visible(timeout=ENDED)
    expect(page.get_by_text("个模型").first).to_be_visible(timeout=ENDED)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
