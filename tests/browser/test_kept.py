"""Nothing that a visitor typed or chose is lost on the way: drafts, choices, and the page behind a phone's sidebar."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chat_page import ChatPage


def test_a_draft_outlives_reload_and_page_change_and_goes_when_it_is_sent(app: AppServer, page: Page) -> None:
    chat = ChatPage(page, app.url).open()
    chat.input.press_sequentially("A half-typed 问题")
    page.wait_for_timeout(600)
    page.reload()
    expect(chat.input).to_have_value("A half-typed 问题", timeout=30_000)
    page.get_by_role("link", name="Image").first.click()
    expect(page.get_by_text("Under the hood")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Chat").first.click()
    expect(chat.input).to_have_value("A half-typed 问题", timeout=30_000)
    chat.input.press("End")
    chat.input.press_sequentially("?")
    chat.input.press("Enter")
    chat.wait_finished()
    assert "A half-typed 问题?" in chat.messages.first.inner_text()
    page.goto(f"{app.url}/chat")
    expect(chat.input).to_be_visible(timeout=30_000)
    page.wait_for_timeout(1500)
    expect(chat.input).to_have_value("")


def test_choices_are_there_after_a_reload_and_in_another_browser(app: AppServer, page: Page) -> None:
    ChatPage(page, app.url).open()
    page.get_by_text("Under the hood").click()
    expect(page.get_by_role("switch", name="Under the hood")).to_be_checked()
    page.wait_for_timeout(500)
    page.reload()
    expect(page.get_by_role("switch", name="Under the hood")).to_be_checked(timeout=30_000)
    assert page.context.browser
    other = page.context.browser.new_context()
    second = other.new_page()
    second.goto(f"{app.url}/image")
    expect(second.get_by_role("switch", name="Under the hood")).to_be_checked(timeout=30_000)
    other.close()
    page.get_by_text("Under the hood").click()  # the app is other tests', too
    page.wait_for_timeout(500)


def test_on_a_phone_the_sidebar_leaves_when_a_conversation_is_chosen(app: AppServer, page: Page) -> None:
    chat = ChatPage(page, app.url).open()
    chat.ask("One short word, please.")
    chat.wait_finished()
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{app.url}/chat")
    page.get_by_test_id("stExpandSidebarButton").click(timeout=30_000)
    row = page.get_by_test_id("stSidebar").locator('[class*="st-key-conversation_"] button').first
    row.click(timeout=30_000)
    expect(chat.messages).to_have_count(2, timeout=30_000)
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true", timeout=10_000)


def test_streamlits_own_words_are_in_the_visitors_language_and_an_answers_are_left_alone(
    app: AppServer, page: Page
) -> None:
    chat = ChatPage(page, app.url).open()
    chat.ask("Upload")
    chat.wait_finished()
    page.get_by_role("radio", name="中文").or_(page.get_by_text("中文", exact=True)).first.click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN", timeout=30_000)
    assert "Upload" in chat.messages.first.inner_text().split("\n")
    page.goto(f"{app.url}/image")
    expect(page.get_by_test_id("stFileUploader").get_by_text("上传", exact=True).last).to_be_visible(timeout=30_000)
    expect(page.get_by_text("单个文件不超过 64MB").last).to_be_visible()
    expect(page.get_by_label("Main menu")).to_have_count(0)
    page.get_by_text("English", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "en", timeout=30_000)
    expect(page.get_by_test_id("stFileUploader").get_by_text("Upload", exact=True).last).to_be_visible(timeout=30_000)
