"""Which models are loaded in this process, and who may be loaded beside them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from llm.machine.heap import give_back
from llm.plan import Device, LoadPlan, Precision
from llm.planning.eviction import Holding
from llm.runtime.protocols import LoadedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HandleKey:
    """What makes one handle differ from another: the files, and how they were asked to be loaded.

    path: where the files are, or the server's address with the model's id there.
    """

    path: str
    device: Device = "auto"
    precision: Precision = "auto"
    context_tokens: int = 0

    @property
    def plan(self) -> LoadPlan:
        """The plan that was asked for."""
        return LoadPlan(self.device, self.precision, self.context_tokens)


class Registry:
    """Handles by key. Each is loaded once, however many ask; two different ones are never admitted at once.

    Whoever loads holds the lock of its key and then the one of admission, from looking at the free memory until the
    weights are in it: otherwise two models that load together would both count the same free bytes. Idle handles are
    evicted under admission, so nobody who holds it waits for a key's lock.
    """

    def __init__(self) -> None:
        self._handles: dict[HandleKey, LoadedModel] = {}
        self._locks: dict[HandleKey, threading.RLock] = {}
        self._lock = threading.Lock()
        self._admission = threading.Lock()

    def get(self, key: HandleKey) -> LoadedModel | None:
        """The handle, if it is loaded now. One that somebody closed is not."""
        with self._lock:
            found = self._handles.get(key)
            if found is not None and found.closed:
                del self._handles[key]
                return None
            return found

    def items(self) -> list[tuple[HandleKey, LoadedModel]]:
        """What is loaded now."""
        with self._lock:
            return [(key, handle) for key, handle in self._handles.items() if not handle.closed]

    def key_of_files(self, path: str) -> HandleKey | None:
        """The key under which some handle of these files is loaded."""
        return next((key for key, _ in self.items() if key.path == path), None)

    def holdings(self) -> list[Holding[HandleKey]]:
        """What is loaded, as `llm.planning.eviction` sees it."""
        return [Holding(key, m.memory().by_device, m.use.last_used, m.use.active > 0) for key, m in self.items()]

    def get_or_load(
        self, key: HandleKey, admit: Callable[[Registry], None] | None, load: Callable[[], LoadedModel]
    ) -> LoadedModel:
        """The handle of a key, made by `load` where nobody has asked before.

        Args:
            admit: makes room, or raises where there is none; None for a handle that holds nothing here.
        """
        with self._lock_of(key):
            found = self.get(key)
            if found is None and admit is None:
                found = self._put(key, load())
            elif found is None and admit is not None:
                with self._admission:
                    admit(self)
                    found = self._put(key, load())
            assert found is not None
            return found

    def evict(self, key: HandleKey) -> bool:
        """Frees an idle handle on behalf of whoever is being admitted; False when it is in use after all."""
        lock = self._lock_of(key)
        if not lock.acquire(blocking=False):
            return False
        try:
            handle = self.get(key)
            if handle is None or handle.use.active:
                return handle is None
            self._free(key)
            return True
        finally:
            lock.release()

    @contextmanager
    def holding(self, key: HandleKey) -> Iterator[LoadedModel | None]:
        """Nobody else loads or frees this key meanwhile."""
        with self._lock_of(key):
            yield self.get(key)

    def free(self, key: HandleKey) -> None:
        """Closes a handle and gives its memory back. Unknown keys are ignored: somebody else was faster."""
        with self._lock_of(key):
            self._free(key)

    def close_all(self) -> None:
        """Frees everything, whoever uses it."""
        for key, _ in self.items():
            self.free(key)

    def _put(self, key: HandleKey, handle: LoadedModel) -> LoadedModel:
        with self._lock:
            self._handles[key] = handle
        return handle

    def _free(self, key: HandleKey) -> None:
        with self._lock:
            handle = self._handles.pop(key, None)
        if handle is not None:
            handle.close()
            del handle
            give_back()

    def _lock_of(self, key: HandleKey) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(key, threading.RLock())


@cache
def process_registry() -> Registry:
    """The registry of this process, whoever asks first: a page, the API, the terminal."""
    return Registry()
