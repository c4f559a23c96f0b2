"""What a request's JSON may be before it is parsed.

Parsing and checking hold the interpreter, so everybody waits for one body, and its size does not tell how long: 31 MB
of zeros are 15 million values, which take seconds to make and check; as many bytes of text or of a picture take none.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from llm.errors import InvalidRequest

MAX_VALUES = 400_000
"""Marks between values: more than a long context has token ids, and checked within a fraction of a second."""
MAX_DEPTH = 200
SMALL_BYTES = 32 << 10

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b",:[]{}"))


def parsed(body: bytes) -> Any:
    """The value that a body spells.

    Raises:
        InvalidRequest: it holds too many values, is too deep, or has a number that no field can take.
        json.JSONDecodeError: it is no JSON.
    """
    strings = body.count(b'"') // 2
    marks = b"" if strings > MAX_VALUES else _STRING.sub(b"", body).translate(None, _OTHERS)
    if max(strings, len(marks)) > MAX_VALUES:
        raise InvalidRequest(detail=f"the body holds more than {MAX_VALUES:,} values")
    if _deepest(marks) > MAX_DEPTH:
        raise InvalidRequest(detail=f"the body is more than {MAX_DEPTH} levels deep")
    return json.loads(body)


def _deepest(marks: bytes) -> int:
    depth = most = 0
    for mark in marks.translate(None, b",:"):
        depth += 1 if mark in b"[{" else -1
        most = max(most, depth)
    return most


class _BoundedRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        try:
            if len(body) <= SMALL_BYTES:
                return parsed(body)
            return await asyncio.to_thread(parsed, body)
        except (UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(detail="the body is no JSON in UTF-8") from error
        except json.JSONDecodeError:
            raise
        except ValueError as error:  # Python's own bound of digits
            raise InvalidRequest(detail="the body has a number of thousands of digits") from error


class BoundedRoute(APIRoute):
    """A route whose JSON is looked at before it is parsed, off the event loop where it is large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(_BoundedRequest(request.scope, request.receive))

        return bounded
