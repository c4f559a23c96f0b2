"""Chromium by Playwright: Debian's where it is, else Playwright's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from playwright.sync_api import Browser, BrowserType, Playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]


def launch(playwright: Playwright) -> Browser:
    """A headless browser. `HEARTH_TEST_CHROMIUM` names another executable."""
    return launch_with(playwright.chromium)


def launch_with(kind: BrowserType, more: Sequence[str] = ()) -> Browser:
    """The same with more arguments, also beside one that runs: `launch_with(browser.browser_type, [...])`."""
    executable = os.environ.get("HEARTH_TEST_CHROMIUM") or shutil.which("chromium")
    return kind.launch(executable_path=executable, args=[*ARGUMENTS, *more])
