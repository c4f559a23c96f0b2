"""Passing an answer on from a replica that may die."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError

from llm.api.answers import line
from llm.api.errors import body as error_body

log = logging.getLogger(__name__)

TRIES = 3
BROKEN = "The machine that wrote this answer stopped. What came so far is not all of it; please ask again."
SIGN_OF_LIFE = b":"
"""How a comment in a stream begins; it belongs to no answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's status and headers."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    @property
    def streams(self) -> bool:
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)


async def answered(ask: Any) -> AsyncIterator[Any]:
    """An answer's `Head`, then its body's parts, from whichever replica gives them.

    While nothing was passed on that belongs to one replica's answer, another one can be asked: of a stream
    that is what comes before its first word, of everything else the whole.

    Args:
        ask: begins the request anew, at another replica when the last one died. Gives what
            `ray_app.Replica.answer` gives; raises RayError when the replica dies.
    """
    streaming = False  # whether the client was told that a stream comes
    for attempt in range(1, TRIES + 1):
        parts = ask()
        spoken, ended, held = False, False, []
        try:
            head = Head(*await anext(parts))
            if head.streams and not streaming:
                streaming = True
                yield head
            async for part in parts:
                if spoken or (head.streams and part.startswith(SIGN_OF_LIFE)):
                    yield part
                    continue
                held.append(part)
                if head.streams and not is_opening(part):
                    spoken = True
                    yield b"".join(held)
            ended = True
            if not spoken:
                if not streaming:
                    yield head
                yield b"".join(held) if head.streams or not streaming else _as_event(b"".join(held))
            return
        except RayError as error:
            ended = True
            log.warning("A replica failed (%s), try %d, words sent: %s", type(error).__name__, attempt, spoken)
            if spoken:
                yield line(error_body(BROKEN, 503, "replica_died"))
                return
        finally:
            if not ended:  # the client has left
                parts.cancel()
        await asyncio.sleep(0.2 * attempt)
    refused = error_body("No replica could answer.", 503, "no_replica")
    if not streaming:
        yield Head(503, [(b"content-type", b"application/json"), (b"retry-after", b"2")])
    yield line(refused) if streaming else json.dumps(refused).encode()


def is_opening(part: bytes) -> bool:
    """Whether a stream's part is what it begins with before there is a word."""
    return part.count(b"data:") == 1 and b'"delta":{"role":"assistant","content":""}' in part


def _as_event(body: bytes) -> bytes:
    """A refusal, for a client who was told that a stream comes."""
    return b"data: " + body.replace(b"\n", b" ") + b"\n\n"
