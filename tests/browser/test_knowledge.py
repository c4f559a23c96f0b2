"""A Chinese PDF becomes searchable, answers with its page lit, and is gone when it is deleted."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chat_page import KEPT
from tests.documents.pdf_maker import Sheet, pdf

INTRODUCTION = [(60, 110 + 20 * line, 12, "本手册说明智能水壶的使用方法和注意事项，请妥善保存。") for line in range(3)]


def ask(page: Page, words: str, answers: int) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(words)
    box.press("Enter")
    expect(page.locator(KEPT)).to_have_count(answers, timeout=120_000)


def test_a_chinese_pdf_is_asked_shown_on_its_page_and_forgotten(app: AppServer, page: Page, tmp_path: Path) -> None:
    manual = tmp_path / "保修手册.pdf"
    warranty = [(60, 60, 16, "保修条款"), (60, 110, 12, "保修期为两年，自购买之日起计算。")]
    manual.write_bytes(pdf([Sheet(INTRODUCTION), Sheet(warranty)]))
    page.goto(f"{app.url}/knowledge")
    page.get_by_label("Name of the base").first.fill("Manuals")
    page.get_by_role("button", name="Create", exact=True).first.click()
    page.get_by_test_id("stMainBlockContainer").locator('input[type="file"]').set_input_files(manual)
    expect(page.locator('[class*="st-key-document_"]')).to_contain_text(re.compile("ready"), timeout=60_000)
    page.get_by_text("Ask", exact=True).click()
    page.locator(".st-key-settings button").first.click()
    page.get_by_text("Answer with sentences of the documents").click()
    page.keyboard.press("Escape")
    ask(page, "保修期是多长时间？", 1)
    expect(page.locator(".know-answer .supported").first).to_contain_text("保修期为两年")
    page.locator('[data-testid="stButtonGroup"] button', has_text="保修手册").click()
    lit = page.locator(".know-passage mark")
    expect(lit.first).to_contain_text("保修期为两年", timeout=20_000)
    picture = page.locator('[class*="st-key-passage_"] img')
    expect(picture).to_be_visible(timeout=30_000)
    expect(page.locator('[class*="st-key-passage_"]')).to_contain_text("page 2")
    assert _has_marker(picture.screenshot())
    page.get_by_text("Documents", exact=True).click()
    page.locator('[class*="st-key-forget_"] button').first.click()
    expect(page.get_by_text("no documents in this base")).to_be_visible(timeout=20_000)
    page.get_by_text("Ask", exact=True).click()
    expect(page.get_by_text("This passage was deleted meanwhile").first).to_be_visible(timeout=20_000)
    ask(page, "那么保修期究竟多长？", 2)
    expect(page.get_by_text("文档中没有提到。")).to_be_visible()


def _has_marker(png: bytes) -> bool:
    """Whether a picture holds the marker's yellow."""
    import io

    from PIL import Image

    colours = Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24) or []
    return sum(count for count, (r, g, b) in colours if r > 240 and g > 215 and b < 160) > 500
