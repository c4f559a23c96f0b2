"""What the first visitor would wait for, done while the browser still loads the page's scripts."""

from __future__ import annotations

import logging
import threading


def warm_up() -> None:
    """Begins it in a thread of its own."""
    threading.Thread(target=_prepare, name="warm-up", daemon=True).start()


def _prepare() -> None:
    try:
        from streamlit.string_util import is_emoji

        from llm.catalogue.lookup import installed
        from llm.machine.hardware import hardware
        from llm.runtime import handles
        from llm.store import store

        is_emoji("🔥")  # compiles an expression of all emojis, for the page's icon
        hardware()
        installed()
        handles.loaded()
        store()
    except Exception:
        logging.getLogger(__name__).exception("warming up failed; the pages do it themselves")
