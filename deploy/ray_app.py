"""The API on Ray Serve: replicas of the same app, scaled by queue length, behind a front.

    serve run deploy.ray_app:app                     # two replicas at least, HEARTH_REPLICAS_MAX at most
    HEARTH_REPLICAS_MAX=8 serve run deploy.ray_app:app

A conversation goes to the same replica each time, so that its prompt is found in the cache there (see
`deploy.routing`). A request whose replica dies is given to another one as long as no word of the answer was
sent; else the client gets an error event and knows that the answer is incomplete.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Scope

from deploy.relay import answered
from deploy.routing import place_of
from llm.api.errors import body as error_body

CONVERSATION = "x-conversation-id"
MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it travels to a replica."""

    method: str
    path: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    body: bytes = field(repr=False, default=b"")


HEALTH = Call("GET", "/health", b"", [(b"host", b"127.0.0.1")], ("127.0.0.1", 0), ("127.0.0.1", 0))


@serve.deployment(
    max_ongoing_requests=72,
    autoscaling_config={
        "min_replicas": int(os.environ.get("HEARTH_REPLICAS_MIN", "2")),
        "max_replicas": int(os.environ.get("HEARTH_REPLICAS_MAX", "2")),
        "target_ongoing_requests": int(os.environ.get("HEARTH_TARGET_QUEUE", "8")),
        "upscale_delay_s": 10,
        "downscale_delay_s": 300,
    },
    request_router_config=RequestRouterConfig(request_router_class="deploy.routing.Rendezvous"),  # type: ignore[arg-type]
    health_check_period_s=5,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=120,
    ray_actor_options={"num_cpus": float(os.environ.get("HEARTH_REPLICA_CPUS", "1"))},
)
class Replica:
    """One copy of the API with its own models."""

    def __init__(self) -> None:
        from llm.api.app import create_api

        self._api = create_api(os.environ.get("HEARTH_LISTEN", "0.0.0.0"))

    async def check_health(self) -> None:
        """Raises when this process should be replaced: its own app no longer answers. Ray asks every few seconds."""
        head = await anext(self.answer(HEALTH))
        if head[0] != 200:
            raise RuntimeError(f"the app answers {head[0]} to /health")

    def record_replica_metadata(self) -> dict[str, int]:
        """What the fronts need to know of this replica. Ray asks once, when it is ready."""
        return place_of(serve.get_replica_context())

    async def answer(self, call: Call) -> AsyncIterator[tuple[int, list[tuple[bytes, bytes]]] | bytes]:
        """Status and headers first, then the body's parts, from the same ASGI app that runs everywhere else."""
        sent: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        gone = asyncio.Event()
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": call.body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def run() -> None:
            try:
                await self._api(_scope(call), receive, sent.put)  # type: ignore[arg-type]
            finally:
                await sent.put(None)

        task = asyncio.create_task(run())
        try:
            while (message := await sent.get()) is not None:
                if message["type"] == "http.response.start":
                    yield message["status"], [*message["headers"], (b"x-replica", str(os.getpid()).encode())]
                elif message.get("body"):
                    yield message["body"]
        finally:
            gone.set()
            await asyncio.wait({task}, timeout=5)
            task.cancel()


@serve.deployment(
    num_replicas=int(os.environ.get("HEARTH_FRONTS", "1")), max_ongoing_requests=10_000, health_check_period_s=5
)
class Front:
    """Takes every request, finds its replica, and tries another one when that dies."""

    def __init__(self, replicas: Any) -> None:
        self._replicas = replicas

    async def __call__(self, request: Request) -> Response:
        body = bytearray()
        async for block in request.stream():
            body += block
            if len(body) > MAX_BODY_BYTES:
                return _refused(413, "The request is too large.", "request_too_large")
        call = _call_of(request.scope, bytes(body))
        replicas = self._replicas.options(session_id=conversation_of(call), stream=True)
        parts = answered(lambda: replicas.answer.remote(call))
        head = await anext(parts)
        response = StreamingResponse(parts, head.status)
        response.raw_headers = list(head.headers)
        return response


def _refused(status: int, message: str, code: str) -> Response:
    return JSONResponse(error_body(message, status, code), status, {"retry-after": "2"})


def _call_of(scope: Scope, body: bytes) -> Call:
    return Call(
        scope["method"],
        scope["path"],
        scope.get("query_string", b""),
        [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        scope.get("client"),
        scope.get("server"),
        body,
    )


def _scope(call: Call) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": call.method,
        "path": call.path,
        "raw_path": call.path.encode(),
        "root_path": "",
        "query_string": call.query,
        "headers": list(call.headers),
        "client": call.client,
        "server": call.server,
    }


def conversation_of(call: Call) -> str:
    """What a conversation is known by: the header `X-Conversation-Id`, else how it begins.

    The first messages (up to the first question) stay the same in every later turn. The caller's key is
    part of it, so that nobody can aim at another's replica.
    """
    headers: Mapping[bytes, bytes] = dict(call.headers)
    named = headers.get(CONVERSATION.encode())
    opening: Any = named.decode("latin-1") if named else _opening(call.body)
    if not opening:
        return ""
    text = json.dumps([opening, headers.get(b"authorization", b"").decode("latin-1")])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _opening(body: bytes) -> Any:
    """A conversation's model and its messages up to the first question; empty when there are none."""
    try:
        asked = json.loads(body or b"{}")
        messages = asked.get("messages") or []
        first = next((i for i, m in enumerate(messages) if m.get("role") == "user"), len(messages))
        return [asked.get("model"), messages[: first + 1]] if messages else ""
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""


app = Front.bind(Replica.bind())
