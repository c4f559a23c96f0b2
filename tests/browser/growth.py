"""How a text in the page grew, seen by a MutationObserver: to poll would cost the processor and miss steps."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Page

_OBSERVE = """
(selector) => {
  window.hearthGrowth = { steps: [], text: '', started: performance.now() / 1000 }
  const look = () => {
    const found = document.querySelectorAll(selector)
    const text = found.length ? found[found.length - 1].textContent : ''
    const growth = window.hearthGrowth
    if (text && text.length !== growth.text.length) {
      growth.steps.push([performance.now() / 1000, text.length])
      growth.text = text
    }
  }
  window.hearthObserver?.disconnect()
  window.hearthObserver = new MutationObserver(look)
  window.hearthObserver.observe(document.body, { childList: true, subtree: true, characterData: true })
  window.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !window.hearthGrowth.text) window.hearthGrowth.started = performance.now() / 1000
  }, { capture: true, once: true })
}
"""


@dataclass(frozen=True)
class Growth:
    """Steps in which a text grew: (seconds, characters then). `started_s` is when the question was sent.

    `text` is the last text that was there, also after it was replaced by something else.
    """

    started_s: float
    steps: tuple[tuple[float, int], ...]
    text: str

    @property
    def first_s(self) -> float:
        """Seconds from the question to the first character."""
        return self.steps[0][0] - self.started_s

    def rate(self, tokens: int, begin: float = 0.0, end: float = 1.0) -> float:
        """Tokens a second between two fractions of the text, characters standing for tokens evenly.

        What the first step brings was written before it was seen, so counting begins after it.
        """
        total = max(length for _, length in self.steps)
        first = next(step for step in self.steps if step[1] >= begin * total)
        last = next(step for step in self.steps if step[1] >= end * total)
        seconds = last[0] - first[0]
        return (last[1] - first[1]) / total * tokens / seconds if seconds > 0 else 0.0


class Watch:
    """Watches the last element of a selector from now on."""

    def __init__(self, page: Page, selector: str) -> None:
        self._page = page
        page.evaluate(_OBSERVE, selector)

    def growth(self) -> Growth:
        """What has been seen so far."""
        seen = self._page.evaluate("window.hearthGrowth")
        return Growth(seen["started"], tuple((at, length) for at, length in seen["steps"]), seen["text"])

    def wait_for_steps(self, steps: int, timeout_s: float = 60) -> Growth:
        """Waits until the text has changed so many times."""
        self._page.wait_for_function("n => window.hearthGrowth.steps.length >= n", arg=steps, timeout=timeout_s * 1000)
        return self.growth()
