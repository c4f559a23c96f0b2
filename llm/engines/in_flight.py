"""Who uses a handle, and when it was used last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from llm.errors import Busy


class UseCount:
    """Counts the answers in work: `with model.use: ...`. Handles in use are never unloaded.

    limit: how many may be in work and waiting together; 0 is any number. One more raises `Busy`.
    on_use: called at each begin, to remember it beyond this process.
    """

    on_use: Callable[[], None] | None = None

    def __init__(self, limit: int = 0) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self.active = 0
        self.last_used = time.time()

    def __enter__(self) -> UseCount:
        with self._lock:
            if self._limit and self.active >= self._limit:
                raise Busy(waiting=self.active)
            self.active += 1
            self.last_used = time.time()
        if self.on_use is not None:
            self.on_use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self.active -= 1
            self.last_used = time.time()
