"""The chat page as a visitor uses it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.growth import Watch

LIVE = ".st-key-live_answer_text"
MESSAGE = '[data-testid="stChatMessage"]'
KEPT = '[class*="st-key-regenerate_"]'
MODEL_LOADED_WITHIN_S = 60


class ChatPage:
    """Asks, waits and looks. Roles and test ids are Streamlit's; the keys are the page's own."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> ChatPage:
        self.page.goto(f"{self.url}/chat")
        expect(self.input).to_be_enabled(timeout=30_000)
        return self

    @property
    def input(self) -> Locator:
        return self.page.get_by_test_id("stChatInputTextArea")

    @property
    def messages(self) -> Locator:
        return self.page.locator(MESSAGE)

    @property
    def last(self) -> Locator:
        return self.messages.last

    @property
    def answer_text(self) -> str:
        """The words of the last message, which is a finished answer."""
        return self.last.get_by_test_id("stMarkdown").first.inner_text().strip()

    def ask(self, words: str) -> Watch:
        """Sends a message; returns a watch over the answer that comes."""
        watch = Watch(self.page, LIVE)
        self.input.fill(words)
        self.input.press("Enter")
        return watch

    def wait_finished(self, timeout_s: float = 120) -> None:
        """Until the answer is written and shown as kept, with its facts and buttons."""
        expect(self.last.locator(KEPT)).to_be_visible(timeout=timeout_s * 1000)
        expect(self.page.locator(LIVE)).to_have_count(0)

    def stop(self) -> None:
        """Ends the answer that is being written; one that has ended by itself by then will do too."""
        stop_or_kept = self.page.locator(".st-key-stop_answer button").or_(self.last.locator(KEPT))
        expect(stop_or_kept.first).to_be_visible(timeout=30_000)
        self.page.evaluate("document.querySelector('.st-key-stop_answer button')?.click()")
        self.wait_finished(timeout_s=30)

    def ask_until(self, words: str, part: str) -> None:
        """Asks, and stops the answer when it says `part`."""
        self.ask(words)
        expect(self.last).to_contain_text(part, timeout=120_000)
        self.stop()
