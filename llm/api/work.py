"""Blocking work for an event loop: each request's model work runs in a thread of its own.

The server's shared thread pool is not used, because answers would fill it and leave the pages none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from llm.cancel import Cancel
from llm.errors import Busy, Cancelled

T = TypeVar("T")


class Gate:
    """Counts the requests in work by model and refuses more than `limit` of one. See `Config.queue_limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._active: dict[str, int] = {}

    def enter(self, model: str) -> None:
        """
        Raises:
            Busy: the limit is reached.
        """
        with self._lock:
            active = self._active.get(model, 0)
            if active >= self.limit:
                raise Busy(waiting=active)
            self._active[model] = active + 1

    def leave(self, model: str) -> None:
        with self._lock:
            self._active[model] -= 1
            if not self._active[model]:
                del self._active[model]

    @property
    def active(self) -> int:
        return sum(self._active.values())


class Work(Generic[T]):
    """An iterator that runs in a thread and whose items arrive in the event loop.

    What arrives while the reader is busy is read at once, so a slow client costs no time per item.
    Use it as `async with`: leaving cancels the work.
    """

    def __init__(self, request: Request, model: str, make: Callable[[Cancel], Iterator[T]]) -> None:
        self._request = request
        self._gate: Gate = request.app.state.gate
        self._model = model
        self._make = make
        self._items: list[Any] = []
        self._lock = threading.Lock()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.cancel = Cancel()

    async def __aenter__(self) -> Work[T]:
        self._gate.enter(self._model)
        threading.Thread(target=self._run, name="api-answer", daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel.set()

    def _run(self) -> None:
        try:
            items = self._make(self.cancel)
            try:
                for item in items:
                    self._post(item)
                    if self.cancel.is_set():
                        break
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # it belongs to the reader, not to this thread
            self._post(_Failed(error))
        finally:
            self._gate.leave(self._model)
            self._post(_END)

    def _post(self, item: Any) -> None:
        with self._lock:
            self._items.append(item)
            if len(self._items) > 1:
                return  # the reader was told already
        with suppress(RuntimeError):  # the server is going down and its loop is closed
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _take(self) -> list[Any]:
        with self._lock:
            items, self._items = self._items, []
        return items

    async def batches(self) -> AsyncIterator[list[T]]:
        """Items as they come, all that are there at a time.

        Raises:
            whatever the work raised, after the items before it.
        """
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            items = self._take()
            end = items.pop() if items and (items[-1] is _END) else None
            failed = items.pop() if items and isinstance(items[-1], _Failed) else None
            if items:
                yield items
            if failed:
                raise failed.error
            if end:
                return

    async def first(self) -> T:
        """The first item; it stays for `batches`.

        Raises:
            Cancelled: the client leaves before it is there.
        """
        waiting = asyncio.ensure_future(self._arrived.wait())
        gone = asyncio.ensure_future(_gone(self._request))
        try:
            done, _ = await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            gone.cancel()
        if waiting not in done:
            raise Cancelled(what="The request")
        item = self._items[0]
        if isinstance(item, _Failed):
            raise item.error
        first: T = item
        return first


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


async def _gone(request: Request) -> None:
    """Returns when the client has hung up. The body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def result(request: Request, model: str, make: Callable[[Cancel], T]) -> T:
    """What a blocking call returns; the call is cancelled when the client leaves.

    Raises:
        Busy, Cancelled, and whatever the call raises.
    """

    def once(cancel: Cancel) -> Iterator[T]:
        yield make(cancel)

    async with Work(request, model, once) as work:
        return await work.first()
