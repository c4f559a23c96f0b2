"""Files beside a question, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import docx
from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chat_page import ChatPage


def test_a_word_file_goes_along_and_a_broken_one_leaves_the_question_where_it_was(
    app: AppServer, page: Page, tmp_path: Path
) -> None:
    document = docx.Document()
    document.add_paragraph("口令是剑鱼。")
    document.save(str(tmp_path / "口令.docx"))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    chat = ChatPage(page, app.url).open()
    upload = page.locator('[data-testid="stChatInput"] input[type="file"]')
    upload.set_input_files([tmp_path / "口令.docx", tmp_path / "broken.pdf"])
    expect(page.get_by_text("broken.pdf")).to_be_visible(timeout=10_000)
    chat.ask("What is the password?")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("broken.pdf.*damaged"), timeout=30_000)
    expect(chat.input).to_have_value("What is the password?")
    expect(chat.messages).to_have_count(0)
    chat.input.press("Enter")
    expect(chat.messages).to_have_count(2, timeout=60_000)
    expect(chat.messages.first).to_contain_text("口令.docx")
    chat.stop()
