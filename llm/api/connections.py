"""What a connection may take before it has asked for anything: bytes, time, and places.

uvicorn bounds neither a request's head nor the time in which it comes, nor how many connections an address holds; a few
hundred half-sent requests would use up this process's file descriptors, and one endless header its memory.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvicorn.protocols.http.auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
HEAD_S = 20.0
"""In which the whole head must be there, and the silence that is allowed before it."""
BODY_GRACE_S = 60.0
BODY_BYTES_PER_S = 1024
"""A body may take the grace and as long as it would at this rate."""
PER_ADDRESS = 300
TOTAL = 800
"""Below the 1,024 files that a process may usually have open."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's own protocol, within bounds. Too slow a request is cut off; too large a head gets a 431."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since, self._bytes, self._stage = time.monotonic(), 0, "head"
        self._timer = self.loop.call_later(HEAD_S, self._look)
        self._make_room()

    def _make_room(self) -> None:
        """Where there are too many, the one that has waited longest without asking goes; if all work, the new one."""
        for others, bound in ((self._of_this_address(), PER_ADDRESS), (list(self.connections), TOTAL)):
            if len(others) > bound:
                idle = [each for each in others if isinstance(each, BoundedConnection) and each.is_idle]
                min(idle, key=lambda each: each._since, default=self)._end()

    def _of_this_address(self) -> list[Any]:
        here = self.client[0] if self.client else None
        clients = ((each, getattr(each, "client", None)) for each in self.connections)
        return [each for each, client in clients if (client[0] if client else None) == here]

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        super().data_received(data)
        if self._stage == "head" and self._bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._enter("head")

    def on_headers_complete(self) -> None:
        self._enter("body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter("answer")

    def on_response_complete(self) -> None:
        self._since = time.monotonic()
        super().on_response_complete()

    def _enter(self, stage: str) -> None:
        self._since, self._bytes, self._stage = time.monotonic(), 0, stage

    def _look(self) -> None:
        """Ends the connection if what it sends is overdue."""
        allowed_s = HEAD_S if self._stage == "head" else BODY_GRACE_S + self._bytes / BODY_BYTES_PER_S
        # A body that the server itself does not take yet is not late; how long answers take is others' business.
        waits = self._stage != "answer" and not self.flow.read_paused
        if waits and time.monotonic() - self._since >= allowed_s:
            self._end()
            return
        self._timer = self.loop.call_later(HEAD_S / 4, self._look)

    def _end(self) -> None:
        self._timer.cancel()
        self.connections.discard(self)
        self.transport.abort()

    def handle_websocket_upgrade(self) -> None:
        self._timer.cancel()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)


def bound_connections() -> None:
    """Makes the bounds hold for servers whose settings are not ours to give: Streamlit's takes uvicorn's usual one."""
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedConnection
