"""Requests to an OpenAI-compatible server: cancelled within a moment, repeated where that helps, clear when they fail.

Each request runs in a thread with an event loop of its own, because only an asynchronous request can be
ended while it waits for the server's next byte.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from llm.cancel import Cancel
from llm.errors import Busy, Cancelled, InvalidRequest, ModelError, NoNetwork, RemoteFailed

CONNECT_S = 10.0
SILENCE_S = 300.0
"""A server that says nothing for this long is given up."""
TRIES = 3
HEARTBEAT_S = 0.2
_REPEATABLE = {408, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 20.0
_MAX_ERROR_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask. `base_url` ends before `/models`, mostly in `/v1`; `silence_s` bounds the wait for each byte."""

    base_url: str
    key: str = field(default="", repr=False)
    silence_s: float = SILENCE_S

    @property
    def name(self) -> str:
        return urlsplit(self.base_url).netloc or self.base_url

    def url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}{path}"

    def clean(self, text: str) -> str:
        """Text without the key, for messages and logs."""
        return text.replace(self.key, "***") if self.key else text


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `json` or (`form` with `files`); `stream` reads server-sent events."""

    path: str
    json: Mapping[str, Any] | None = None
    form: Mapping[str, Any] | None = None
    files: Mapping[str, Any] | None = None
    stream: bool = False
    method: str = "POST"


def fetched(server: Server, call: Call, cancel: Cancel | None = None) -> Any:
    """The JSON value of an answer that comes in one piece.

    Raises:
        Cancelled: `cancel` was set. NoNetwork, RemoteFailed, InvalidRequest, Busy: see `events`.
    """
    stop = cancel or Cancel()
    found = [value for value in events(server, call, stop) if value is not None]
    if not found:
        raise Cancelled(what="The request")
    return found[0]


def events(server: Server, call: Call, cancel: Cancel) -> Generator[Any, None, None]:
    """Each JSON value that the server sends, and None about every 0.2 s while it is silent; ends when cancelled.

    Raises:
        NoNetwork: nothing answers at the address.
        Busy: the server says so, after a few tries.
        InvalidRequest: it refuses the request. RemoteFailed: it fails, wants another key or falls silent.
    """
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_ask(server, call, items))

    def work() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # it belongs to the reader, not to this thread
            items.put(_Failed(_said(error, server)))
        finally:
            items.put(_END)
            loop.close()

    threading.Thread(target=work, name="remote-answer", daemon=True).start()
    try:
        while not cancel.is_set():
            try:
                item = items.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield None
                continue
            if item is _END:
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        with suppress(RuntimeError):  # the loop is closed: there is nothing left to cancel
            loop.call_soon_threadsafe(task.cancel)


class _Failed:
    def __init__(self, error: ModelError) -> None:
        self.error = error


_END = object()


async def _ask(server: Server, call: Call, items: queue.SimpleQueue[Any]) -> None:
    timeout = httpx.Timeout(server.silence_s, connect=CONNECT_S)
    host = urlsplit(server.base_url).hostname or ""
    # A proxy that the environment names is for the world outside.
    local = host == "localhost" or host.startswith("127.") or host == "::1"
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    async with httpx.AsyncClient(timeout=timeout, headers=headers, trust_env=not local) as client:
        for attempt in range(1, TRIES + 1):
            try:
                async with client.stream(
                    call.method, server.url(call.path), json=call.json, data=call.form, files=call.files
                ) as answer:
                    if answer.status_code == 200:
                        await _read(answer, call, items)
                        return
                    if answer.status_code not in _REPEATABLE or attempt == TRIES:
                        raise await _refused(answer, server)
                    wait_s = _wait_s(answer.headers.get("retry-after", ""), attempt)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if attempt == TRIES:
                    raise
                wait_s = _wait_s("", attempt)
            await asyncio.sleep(wait_s)


def _wait_s(retry_after: str, attempt: int) -> float:
    try:
        return min(max(float(retry_after), 0.0), _LONGEST_WAIT_S)
    except ValueError:
        return float(0.5 * 2 ** (attempt - 1))


async def _read(answer: httpx.Response, call: Call, items: queue.SimpleQueue[Any]) -> None:
    if not call.stream:
        items.put(json.loads(await answer.aread()))
        return
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            items.put(json.loads(data))


async def _refused(answer: httpx.Response, server: Server) -> ModelError:
    raw = b""
    async for block in answer.aiter_bytes():
        raw += block
        if len(raw) > _MAX_ERROR_BYTES:
            break
    return refusal(answer.status_code, message_of(raw), server)


def message_of(raw: bytes) -> str:
    """What an error's body says, whichever of the common shapes it has."""
    text = raw.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:300]
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    return str(value)[:600]


def refusal(status: int, message: str, server: Server) -> ModelError:
    """The error for a status that isn't 200."""
    message = server.clean(message)
    if status == 429:
        return Busy(waiting=f"{server.name}: too many")
    if status in (400, 413, 422):
        return InvalidRequest(detail=f"{server.name} refuses it: {message}")
    reasons = {401: "it wants another key", 403: "it wants another key", 404: "it does not have that"}
    reason = f"{reasons[status]}; " if status in reasons else ""
    return RemoteFailed(server=server.name, detail=f"{reason}{message or 'no reason given'} (HTTP {status})")


def _said(error: Exception, server: Server) -> ModelError:
    if isinstance(error, ModelError):
        return error
    detail = server.clean(str(error)) or type(error).__name__
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return NoNetwork(source=server.name, detail=detail)
    if isinstance(error, httpx.TimeoutException):
        return RemoteFailed(server=server.name, detail=f"it was silent for {server.silence_s:g} s")
    if isinstance(error, httpx.TransportError):
        return RemoteFailed(server=server.name, detail=f"the answer broke off ({detail})")
    if isinstance(error, ValueError):
        return RemoteFailed(server=server.name, detail="what it sends is not JSON; does it speak OpenAI's protocol?")
    return RemoteFailed(server=server.name, detail=detail)
