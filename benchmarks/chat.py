"""How fast the chat is, beside its peers, in one run: `python -m benchmarks.chat [--only speed long ...]`.

The same weights and the same greedy answer are written by xllamacpp in a plain script, by Hearth's handle in a
plain script, by the app as Chromium sees it, and by the Streamlit script that tutorials show. Repetitions are
interleaved and each is compared with the raw speed just before and after it, because a machine's speed drifts.
Needs requirements-dev.txt, and `pip install gguf` for the tutorial's script.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.worker import Worker
from llm.catalogue.lookup import find
from llm.sources import fetch
from tests.browser.app_server import REPOSITORY, AppServer
from tests.browser.chat_page import ChatPage
from tests.browser.chromium import launch
from tests.browser.growth import Growth, Watch

MODEL = "smollm2-135m-instruct-q4_1"
# Greedy small models end long answers when they please: the first that goes on long enough is taken.
QUESTIONS = (
    "Write a detailed travel diary with one entry for every day of a year, beginning with Day 1.",
    "Write a very long story in many chapters about a lighthouse.",
    "Write a Python tutorial with two hundred numbered lessons, each with text and code.",
    "Write a dialogue between two sailors that never ends.",
    "Write a glossary of one thousand cooking terms, each with a definition.",
)
SHORT_TOKENS, LONG_TOKENS = 256, 4000
PEERS = Path(__file__).parent / "peers"
TYPING_S = 2.0
"""A person takes longer to type a question; by then the page has come to rest."""


@dataclass
class Row:
    """One line of the table. `bar` is what it should reach; empty: for information."""

    what: str
    value: str
    bar: str = ""
    met: bool | None = None


@dataclass
class Bench:
    """What all measurements share."""

    home: Path
    file: Path
    threads: int
    repetitions: int
    browser: Browser
    stack: ExitStack
    rows: list[Row] = field(default_factory=list)
    _raw: Worker | None = None
    _engine: Worker | None = None
    _app: AppServer | None = None
    _ids: dict[str, list[int]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {"HEARTH_HOME": str(self.home), "HEARTH_THREADS": str(self.threads)}

    @property
    def raw(self) -> Worker:
        if self._raw is None:
            command = [str(PEERS / "raw_xllamacpp.py"), str(self.file), str(self.threads)]
            self._raw = self.stack.enter_context(Worker(command, self.env))
        return self._raw

    @property
    def engine(self) -> Worker:
        if self._engine is None:
            self._engine = self.stack.enter_context(Worker(["-m", "benchmarks.peers.hearth_engine", MODEL], self.env))
        return self._engine

    @property
    def app(self) -> AppServer:
        if self._app is None:
            self._app = self.stack.enter_context(AppServer(self.home, {"HEARTH_THREADS": str(self.threads)}))
        return self._app

    def raw_times(self, words: str, tokens: int) -> list[float]:
        """Second of each token from xllamacpp, for the very prompt that the app sends."""
        if words not in self._ids:
            self._ids[words] = self.engine.ask(do="prompt", words=words)
        times: list[float] = self.raw.ask(prompt=self._ids[words], tokens=tokens)["times"]
        return times

    def question(self, tokens: int) -> tuple[str, list[float]]:
        """A question with an answer of so many tokens, and the seconds of its tokens from xllamacpp.

        Raises:
            RuntimeError: every answer ends before.
        """
        for words in QUESTIONS:
            times = self.raw_times(words, tokens)
            if len(times) > 0.99 * tokens:  # a token may be half a character, which shows with the next
                return words, times
        raise RuntimeError(f"no question has an answer of {tokens} tokens")

    def report(self, what: str, value: str, bar: str = "", met: bool | None = None) -> None:
        self.rows.append(Row(what, value, bar, met))
        print(f"  {what}: {value}", flush=True)

    @contextmanager
    def visitor(self) -> Iterator[Page]:
        context = self.browser.new_context(locale="en-US", viewport={"width": 1280, "height": 800})
        try:
            yield context.new_page()
        finally:
            context.close()

    def seen(self, words: str, tokens: int) -> Growth:
        """One answer of the app as a new visitor's browser sees it."""
        conversation = self.engine.ask(do="conversation", tokens=tokens)
        with self.visitor() as page:
            chat = ChatPage(page, self.app.url)
            page.goto(f"{self.app.url}/chat?c={conversation}")
            expect(chat.input).to_be_enabled(timeout=60_000)
            page.wait_for_load_state("networkidle")
            time.sleep(TYPING_S)
            watch = chat.ask(words)
            chat.wait_finished(timeout_s=600)
            expect(chat.last).to_contain_text(f"{tokens} tokens")
            return watch.growth()

    def tutorial(self, words: str, tokens: int) -> Growth:
        """One answer of the tutorials' script, seen the same way."""
        env = {"TUTORIAL_MODEL": str(self.file), "TUTORIAL_TOKENS": str(tokens)}
        with AppServer(self.home, env, script=str(PEERS / "tutorial_streamlit.py")) as server, self.visitor() as page:
            page.goto(server.url)
            field = page.get_by_test_id("stChatInputTextArea")
            expect(field).to_be_enabled(timeout=300_000)
            watch = Watch(page, ".st-key-tutorial_answer")
            field.fill(words)
            field.press("Enter")
            page.get_by_text("finished", exact=True).wait_for(timeout=600_000)
            return watch.growth()


def rate(times: list[float], begin: float = 0.0, end: float = 1.0) -> float:
    """Tokens a second between two fractions of an answer."""
    first, last = int(begin * (len(times) - 1)), int(end * (len(times) - 1))
    return (last - first) / (times[last] - times[first])


def speed(bench: Bench) -> None:
    """256 tokens: raw, engine, browser, tutorial."""
    n = SHORT_TOKENS
    words, _ = bench.question(n)
    bench.seen(words, 16)  # the model is loaded and Chromium has compiled the page's scripts
    raws, engines, pages, firsts, shares, engine_shares = ([] for _ in range(6))  # type: list[list[float]]
    before = rate(bench.raw_times(words, n))
    for _ in range(bench.repetitions):
        page = bench.seen(words, n)
        middle = rate(bench.raw_times(words, n))
        engine = rate(bench.engine.ask(do="answer", words=words, tokens=n)["times"])
        after = rate(bench.raw_times(words, n))
        raws += [middle, after]
        pages.append(page.rate(n))
        firsts.append(page.first_s)
        engines.append(engine)
        shares.append(page.rate(n) / statistics.mean((before, middle)))
        engine_shares.append(engine / statistics.mean((middle, after)))
        print(
            f"    raw {before:.0f} page {pages[-1]:.0f} raw {middle:.0f} engine {engine:.0f} raw {after:.0f}",
            flush=True,
        )
        before = after
    median = statistics.median
    bench.report(f"raw xllamacpp, {n} tokens", f"{median(raws):.0f} tokens/s")
    share = median(engine_shares)
    bench.report("Hearth's engine", f"{median(engines):.0f} tokens/s = {share:.2f} of raw", "≥ 0.97", share >= 0.97)
    share = median(shares)
    bench.report("Hearth in the browser", f"{median(pages):.0f} tokens/s = {share:.2f} of raw", "≥ 0.80", share >= 0.8)
    bench.report("time to first token in the browser", f"{median(firsts):.2f} s")
    tutorial = bench.tutorial(words, n)
    times = median(pages) / tutorial.rate(n)
    text = f"{tutorial.rate(n):.1f} tokens/s, first after {tutorial.first_s:.2f} s; Hearth is {times:.1f} times as fast"
    bench.report("the tutorials' script in the browser", text, "≥ 5 times", times >= 5)


def long(bench: Bench) -> None:
    """One answer of 4,000 tokens: speed over its first 3,000, and whether the page's cost grows."""
    n = LONG_TOKENS
    bench.seen(QUESTIONS[0], 16)
    words, raw = bench.question(n)
    page = bench.seen(words, n)
    begin = 3000 / n
    share = page.rate(n, 0, begin) / rate(raw, 0, begin)
    text = f"{page.rate(n, 0, begin):.0f} of {rate(raw, 0, begin):.0f} tokens/s = {share:.2f} of raw"
    bench.report("Hearth in the browser, 3,000 tokens", text, "≥ 0.80", share >= 0.8)
    tenths = [page.rate(n, k / 10, (k + 1) / 10) / rate(raw, k / 10, (k + 1) / 10) for k in range(10)]
    growth = tenths[-1] / tenths[0]
    text = f"{growth:.2f} (shares of raw by tenth: {', '.join(f'{tenth:.2f}' for tenth in tenths)})"
    bench.report("share of raw, last tenth of 4,000 tokens over first", text, "≥ 0.9", growth >= 0.9)


def together(bench: Bench) -> None:
    """Eight people at once against one."""

    def run(people: int) -> dict[str, float]:
        return bench.engine.ask(do="together", people=people, tokens=128)

    runs = [(run(1), run(8)) for _ in range(bench.repetitions)]
    gain = statistics.median(many["tokens_per_s"] / one["tokens_per_s"] for one, many in runs)
    total = statistics.median(many["tokens_per_s"] for _, many in runs)
    wait = max(many["worst_first_s"] for _, many in runs)
    bench.report("8 people at once", f"{total:.0f} tokens/s in total = {gain:.2f} of one alone", "≥ 1.2", gain >= 1.2)
    bench.report("the longest wait for a first token among 8", f"{wait:.2f} s", "≤ 2 s", wait <= 2)


def turns(bench: Bench) -> None:
    """First-token time along a conversation."""
    runs = [bench.engine.ask(do="turns", count=10, tokens=48)["first_s"] for _ in range(bench.repetitions)]
    first, tenth = (statistics.median(run[k] for run in runs) for k in (0, 9))
    text = f"{tenth * 1000:.0f} ms against {first * 1000:.0f} ms = {tenth / first:.2f}"
    bench.report("first token of turn 10 against turn 1", text, "≤ 1.5", tenth <= 1.5 * first)


def start(bench: Bench) -> None:
    """From `streamlit run` to a Home that can be used, and from a click to another page."""
    starts, changes = [], []
    for number in range(bench.repetitions):
        with bench.visitor() as page:
            begun = time.perf_counter()
            with AppServer(bench.home / f"start{number}") as server:
                page.goto(server.url, wait_until="commit")
                page.locator("[data-testid='stPageLink'] a").last.wait_for(timeout=60_000)
                starts.append(time.perf_counter() - begun)
                changes += [change_page(page, name) for name in ("Chat", "Home") * 3][2:]
    first, change = statistics.median(starts), statistics.median(changes)
    bench.report("`streamlit run` to Home interactive", f"{first:.2f} s", "≤ 3 s", first <= 3)
    bench.report("page change", f"{change * 1000:.0f} ms", "≤ 300 ms", change <= 0.3)


_CHANGED = """
([name, selector]) => new Promise((resolve) => {
  const begun = performance.now()
  const look = () => {
    if (!document.querySelector(selector)) return
    observer.disconnect()
    requestAnimationFrame(() => resolve((performance.now() - begun) / 1000))
  }
  const observer = new MutationObserver(look)
  observer.observe(document.body, { childList: true, subtree: true })
  const links = [...document.querySelectorAll('[data-testid="stSidebarNavLink"]')]
  links.find((link) => link.textContent.includes(name)).click()
})
"""


def change_page(page: Page, name: str) -> float:
    """Seconds from the click in the menu to the frame in which the page's own last widget stands."""
    selector = {"Chat": '[data-testid="stChatInputTextArea"]', "Home": '[data-testid="stPageLink"]'}[name]
    seconds: float = page.evaluate(_CHANGED, [name, selector])
    page.wait_for_load_state("networkidle")
    return seconds


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| measured | value | bar | |", "|---|---|---|---|"]
    for row in rows:
        met = {None: "", True: "met", False: "**not met**"}[row.met]
        lines.append(f"| {row.what} | {row.value} | {row.bar} | {met} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[[Bench], None]] = {f.__name__: f for f in (speed, long, together, turns, start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    file = fetch(find(MODEL))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, ExitStack() as stack:
        home = Path(folder)
        (home / "models" / MODEL).mkdir(parents=True)
        (home / "models" / MODEL / file.name).symlink_to(file)
        browser = launch(playwright)
        stack.callback(browser.close)
        bench = Bench(home, file, arguments.threads, arguments.repetitions, browser, stack)
        for name in arguments.only:
            print(f"{name}:", flush=True)
            PARTS[name](bench)
    print(f"\n{table(bench.rows)}")


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    main()
