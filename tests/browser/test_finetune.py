"""From an Excel of questions and answers to an answer in the chat, as a visitor does it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from llm.catalogue.lookup import find
from llm.catalogue.toml_file import write_entries
from tests.browser.app_server import AppServer
from tests.browser.chat_page import ChatPage
from tests.finetune import tiny
from tests.finetune.test_files import xlsx

SLOW = 120_000
FACTS = [["问题", "答案"], *[[f"Who is mayor {n}?", f"Mayor {n} is Ada."] for n in range(1, 13)]]


def test_from_an_excel_to_an_answer_in_the_chat(
    new_app: Callable[..., AppServer], starter_file: Path, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    app = new_app(starter_file)
    entry = replace(find(tiny.base(tmp_path / "base")), id="tiny", name="Tiny")
    write_entries(app.home / "models.toml", [entry])
    page = open_page()
    page.goto(f"{app.url}/finetune")
    page.get_by_label("Name", exact=True).fill("小镇")
    page.locator('input[type="file"]').set_input_files(
        {"name": "镇长.xlsx", "mimeType": "application/octet-stream", "buffer": xlsx(FACTS)}
    )
    expect(page.get_by_text("镇长.xlsx")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Make the set").click()
    expect(page.get_by_text(re.compile("12 rows"))).to_be_visible(timeout=SLOW)

    page.get_by_role("radio", name="2 · Train").click()
    page.get_by_text("What is trained, token by token").click()
    trained = page.locator(".hood .token.assistant")
    expect(trained.first).to_be_visible(timeout=SLOW)
    assert "is Ada." in "".join(trained.all_inner_texts())
    assert "Who" not in "".join(trained.all_inner_texts())
    expect(page.locator(".hood .token.control")).to_have_count(1)  # the end, which is learnt, too
    page.get_by_role("button", name="Measure time and memory").click()
    expect(page.get_by_text(re.compile("Memory, measured"))).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Start training").click()

    expect(page.get_by_role("button", name="Use in the chat")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Held-out loss", exact=True).first).to_be_visible()
    page.reload()
    page.get_by_label("Name in the chat").fill("镇长")
    page.get_by_role("button", name="Use in the chat").click(timeout=SLOW)
    leading = page.get_by_role("button", name="Open the chat")
    chat = ChatPage(page, app.url)
    for _ in range(3):  # a press while the page is still drawn anew is lost on a busy machine
        leading.or_(chat.input).first.wait_for(timeout=SLOW)
        if chat.input.count():
            break
        leading.click(timeout=SLOW)
        page.wait_for_timeout(5000)
    expect(chat.input).to_be_enabled(timeout=SLOW)
    chat.ask("Who is mayor 3?")
    chat.wait_finished()
    expect(chat.last).to_contain_text("tiny@镇长")
