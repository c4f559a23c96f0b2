"""Ending work that runs in another thread."""

from __future__ import annotations

import threading


class Cancel(threading.Event):
    """Set it to end the work within one token. It also counts as set when its parent is."""

    def __init__(self, parent: Cancel | None = None) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        return super().is_set() or (self._parent is not None and self._parent.is_set())
