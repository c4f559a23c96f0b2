"""The Diagnostics page in a real browser: both languages, live readings, self-test, log, report, 400 px."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer

SLOW_MS = 120_000


def section(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).click()


@pytest.mark.slow
def test_findings_arrive_one_by_one(app: AppServer, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{app.url}/diagnostics")
    expect(page.locator(".st-key-check_cpu")).to_contain_text("Processor", timeout=30_000)
    expect(page.locator(".st-key-check_bitsandbytes")).to_contain_text("8 and 4 bits", timeout=SLOW_MS)
    expect(page.locator(".st-key-check_network")).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_text("Still checking")).to_have_count(0, timeout=SLOW_MS)
    expect(page.locator(".st-key-check_media")).to_contain_text("PyAV")


def test_chinese_dark_and_narrow(app: AppServer, open_page: Callable[..., Page]) -> None:
    page = open_page(locale="zh-CN", width=400, dark=True)
    page.goto(f"{app.url}/diagnostics")
    expect(page.locator(".st-key-check_cpu")).to_contain_text("处理器", timeout=30_000)
    section(page, "实时")
    expect(page.get_by_text("每两秒更新一次")).to_be_visible()
    section(page, "报告")
    expect(page.get_by_role("button", name="下载")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_live_readings_move(app: AppServer, page: Page) -> None:
    page.goto(f"{app.url}/diagnostics")
    section(page, "Live")
    line = page.locator("[data-testid=stVegaLiteChart]").first
    expect(line).to_be_visible(timeout=30_000)
    before = line.screenshot()
    page.wait_for_timeout(7_000)
    assert line.screenshot() != before


def test_self_test_predicts_the_starter(app: AppServer, page: Page) -> None:
    page.goto(f"{app.url}/diagnostics")
    section(page, "Self-test")
    page.get_by_role("button", name="Start the self-test").click()
    expect(page.get_by_text(re.compile(r"\d GB/s"))).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page.get_by_role("button", name="Start the self-test")).to_be_enabled()


def test_log_and_report_name_no_secret(app: AppServer, page: Page) -> None:
    page.goto(f"{app.url}/diagnostics")
    section(page, "Log")
    expect(page.get_by_label("Words to find")).to_be_visible(timeout=30_000)
    section(page, "Report")
    code = page.get_by_test_id("stCode").first
    expect(code).to_contain_text("Hearth diagnostics", timeout=30_000)
    section(page, "JSON")
    expect(code).to_contain_text('"checks"')
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "hearth-report.json"
