"""Chromium by Playwright: Debian's where it is, else Playwright's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from playwright.sync_api import Browser, Playwright

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


def launch(playwright: Playwright, more: Sequence[str] = ()) -> Browser:
    """A headless browser. `HEARTH_TEST_CHROMIUM` names another executable; `more` are its arguments."""
    executable = os.environ.get("HEARTH_TEST_CHROMIUM") or shutil.which("chromium")
    return playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, *more])
