"""Who uses a handle, and when it was used last."""

from __future__ import annotations

import threading
import time
from types import TracebackType


class UseCount:
    """Counts the answers in work: `with model.use: ...`. Handles in use are never unloaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.active = 0
        self.last_used = time.time()

    def __enter__(self) -> UseCount:
        with self._lock:
            self.active += 1
            self.last_used = time.time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self.active -= 1
            self.last_used = time.time()
