"""The API on Ray Serve: replicas of the same app, scaled by queue length, behind a front.

    serve run deploy.ray_app:app                     # two replicas at least, HEARTH_REPLICAS_MAX at most
    HEARTH_REPLICAS_MAX=8 serve run deploy.ray_app:app

A conversation goes to the replica that answered it before, so that its prompt is found in the cache there
(Ray Serve's multiplexing does the choosing: each conversation is a "model" that a replica holds). A request
whose replica dies is given to another one as long as nothing of the answer was sent; else the client gets
an error event and knows that the answer is incomplete.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import serve
from ray.exceptions import RayError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Scope

from llm.api.answers import line
from llm.api.errors import body as error_body

log = logging.getLogger(__name__)

CONVERSATION = "x-conversation-id"
KEPT_CONVERSATIONS = 1000
"""How many conversations a replica is remembered for."""
TRIES = 3
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


@serve.deployment(
    max_ongoing_requests=72,
    autoscaling_config={
        "min_replicas": int(os.environ.get("HEARTH_REPLICAS_MIN", "2")),
        "max_replicas": int(os.environ.get("HEARTH_REPLICAS_MAX", "2")),
        "target_ongoing_requests": int(os.environ.get("HEARTH_TARGET_QUEUE", "8")),
        "upscale_delay_s": 10,
        "downscale_delay_s": 300,
    },
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

    def check_health(self) -> None:
        """Raises when this process should be replaced. Ray asks every few seconds."""
        if self._api is None:
            raise RuntimeError("the app is not there")

    @serve.multiplexed(max_num_models_per_replica=KEPT_CONVERSATIONS)
    async def hold(self, conversation: str) -> str:
        """Nothing to load: being asked is what makes this the conversation's replica."""
        return conversation

    async def answer(self, call: Call) -> AsyncIterator[tuple[int, list[tuple[bytes, bytes]]] | bytes]:
        """Status and headers first, then the body's parts, from the same ASGI app that runs everywhere else."""
        conversation = serve.get_multiplexed_model_id()
        if conversation:
            await self.hold(conversation)
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


@serve.deployment(max_ongoing_requests=10_000, health_check_period_s=5)
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
        handle = self._replicas.options(multiplexed_model_id=conversation_of(call), stream=True)
        for attempt in range(1, TRIES + 1):
            answer = handle.answer.remote(call)
            try:
                status, headers = await anext(answer)
            except RayError as error:
                log.warning("A replica failed before it answered (%s), try %d", type(error).__name__, attempt)
                await asyncio.sleep(0.5 * attempt)
                continue
            except BaseException:
                answer.cancel()
                raise
            response = StreamingResponse(_rest(answer), status)
            response.raw_headers = headers
            return response
        return _refused(503, "No replica could answer.", "no_replica")


async def _rest(answer: Any) -> AsyncIterator[bytes]:
    """What follows the status. When its replica dies, an error that OpenAI's clients raise."""
    ended = False
    try:
        async for part in answer:
            yield part
        ended = True
    except RayError:
        ended = True
        yield line(error_body("The machine that wrote this answer stopped. Please ask again.", 503, "replica_died"))
    finally:
        if not ended:  # the client has left
            answer.cancel()


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
    opening: Any = named.decode("latin-1") if named else ""
    if not named:
        try:
            body = json.loads(call.body or b"{}")
            messages = body.get("messages") or []
            first = next((i for i, m in enumerate(messages) if m.get("role") == "user"), len(messages))
            opening = [body.get("model"), messages[: first + 1]]
        except (ValueError, AttributeError, TypeError, RecursionError):
            opening = ""
    if not opening:
        return ""
    text = json.dumps([opening, headers.get(b"authorization", b"").decode("latin-1")])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


app = Front.bind(Replica.bind())
