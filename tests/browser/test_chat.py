"""The chat as a visitor meets it, in a real browser, with a real model."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chat_page import LIVE, ChatPage

STORY = "Tell me a long story about a lighthouse."


@pytest.fixture
def chat(app: AppServer, page: Page) -> ChatPage:
    return ChatPage(page, app.url).open()


def test_first_visit_fetches_the_starter_and_answers(new_app: Callable[..., AppServer], page: Page) -> None:
    app = new_app()
    page.goto(f"{app.url}/chat")
    expect(page.get_by_role("progressbar").first).to_be_visible(timeout=30_000)
    chat = ChatPage(page, app.url)
    expect(chat.input).to_be_enabled(timeout=180_000)
    chat.ask("What is the capital of France?")
    chat.wait_finished()
    assert len(chat.answer_text) > 5


def test_answer_is_seen_growing_and_ends_as_kept(chat: ChatPage) -> None:
    growth = chat.ask(STORY).wait_for_steps(4)
    lengths = [length for _, length in growth.steps]
    assert lengths == sorted(lengths)
    chat.stop()
    kept = chat.answer_text
    assert len(kept) >= lengths[3] // 2
    chat.page.reload()
    expect(chat.messages).to_have_count(2, timeout=30_000)
    assert chat.answer_text == kept


def test_stop_keeps_what_was_written(chat: ChatPage) -> None:
    chat.ask(STORY).wait_for_steps(2)
    begun = chat.page.locator(LIVE).inner_text()[:40]
    chat.stop()
    assert chat.answer_text.startswith(begun[:20])
    expect(chat.last.get_by_text("Stopped.")).to_be_visible()


def test_regenerate_makes_a_branch_that_can_be_walked(chat: ChatPage) -> None:
    _short_answer(chat)
    first = chat.answer_text
    chat.last.locator('[class*="st-key-regenerate_"] button').first.click()
    expect(chat.last.get_by_text("2/2")).to_be_visible(timeout=60_000)
    chat.wait_finished()
    second = chat.answer_text
    chat.last.locator('[class*="st-key-previous_"] button').first.click()
    expect(chat.last.get_by_text("1/2")).to_be_visible()
    assert chat.answer_text == first
    chat.last.locator('[class*="st-key-next_"] button').first.click()
    expect(chat.last.get_by_text("2/2")).to_be_visible()
    assert chat.answer_text == second


def test_edit_makes_a_branch_and_the_first_question_stays(chat: ChatPage) -> None:
    _short_answer(chat)
    question = chat.messages.first
    question.locator('[class*="st-key-edit_"] button').first.click()
    chat.page.locator('[class*="st-key-edited_"] textarea').fill("Say just the word yes.")
    chat.page.locator('[class*="st-key-send_"] button').first.click()
    expect(question.get_by_text("Say just the word yes.")).to_be_visible(timeout=30_000)
    chat.wait_finished()
    expect(question.get_by_text("2/2")).to_be_visible()
    question.locator('[class*="st-key-previous_"] button').first.click()
    expect(question.get_by_text("Say hello.")).to_be_visible()
    expect(chat.messages).to_have_count(2)


def test_reload_in_the_middle_goes_on_showing_the_answer(chat: ChatPage) -> None:
    chat.ask(STORY).wait_for_steps(2)
    begun = chat.page.locator(LIVE).inner_text()[:20]
    chat.page.reload()
    expect(chat.page.locator(LIVE)).to_contain_text(begun, timeout=30_000)
    chat.stop()
    assert chat.answer_text.startswith(begun)


def test_two_browsers_at_once_get_their_own_answers(app: AppServer, open_page: Callable[..., Page]) -> None:
    one, two = (ChatPage(open_page(), app.url).open() for _ in range(2))
    watches = [one.ask("Tell me about France."), two.ask("Tell me about Japan.")]
    for watch in watches:  # both grow at the same time
        watch.wait_for_steps(3)
    for chat, country in ((one, "France"), (two, "Japan")):
        chat.stop()
        expect(chat.messages).to_have_count(2)
        expect(chat.messages.first).to_contain_text(f"Tell me about {country}.")
    assert one.answer_text and two.answer_text and one.answer_text != two.answer_text


def test_language_follows_the_browser_and_the_switch_is_remembered(
    app: AppServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(locale="zh-CN")
    page.goto(f"{app.url}/chat")
    expect(page.get_by_text("新对话")).to_be_visible(timeout=30_000)
    page.get_by_test_id("stSidebar").get_by_text("English").click()
    expect(page.get_by_text("New chat")).to_be_visible()
    page.reload()
    expect(page.get_by_text("New chat")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("新对话")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_at_400_pixels(app: AppServer, open_page: Callable[..., Page], dark: bool) -> None:
    chat = ChatPage(open_page(width=400, dark=dark), app.url).open()
    _short_answer(chat)
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= 400
    for box in (chat.input.bounding_box(), chat.last.bounding_box()):
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 400


def test_killed_in_the_middle_of_an_answer(new_app: Callable[..., AppServer], page: Page, starter_file) -> None:
    app = new_app(starter_file)
    chat = ChatPage(page, app.url).open()
    watch = chat.ask(STORY)
    page.wait_for_function("() => window.hearthGrowth.steps.at(-1)?.[0] - window.hearthGrowth.steps[0]?.[0] > 2.5")
    growth = watch.growth()
    app.kill()
    app.start()
    seen_a_second_ago = max(length for at, length in growth.steps if at <= growth.steps[-1][0] - 1.2)
    page.goto(page.url)
    expect(chat.messages).to_have_count(2, timeout=60_000)
    expect(chat.last).to_contain_text("Interrupted")
    words = _words(chat.answer_text)
    assert words.startswith(_words(growth.text)[: int(seen_a_second_ago * 0.9)][:200])
    assert len(words) >= 0.9 * seen_a_second_ago
    chat.ask("Say hello.")
    chat.wait_finished()
    expect(chat.messages).to_have_count(4)


def _short_answer(chat: ChatPage) -> None:
    chat.ask("Say hello.")
    chat.wait_finished()


def _words(text: str) -> str:
    return re.sub(r"\s+", "", text)
