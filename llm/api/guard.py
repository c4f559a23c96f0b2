"""Who may call: the check before every endpoint.

From this machine without a key; with a key as soon as the server listens elsewhere. A web page of another
origin can use neither the visitor's browser (Origin) nor a name that it makes point here (Host, "DNS
rebinding") to get in.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm.access.addresses import is_loopback
from llm.access.api_keys import Keys
from llm.access.callers import hostname, is_forwarded, is_local, listed, own_names
from llm.api.errors import answer_to
from llm.api.metrics import Metrics
from llm.config import config
from llm.errors import Forbidden, ModelError, WrongKey

_OPEN_PATHS = {"/health"}


class Guard:
    """ASGI middleware. Passes on what may be answered and counts it; answers everything else itself."""

    def __init__(self, app: ASGIApp, address: str | None, keys: Keys, metrics: Metrics) -> None:
        self._app = app
        self._address = address
        self._keys = keys
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET, without its body
            scope, send = {**scope, "method": "GET"}, _headers_only(send)
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        allowed = origin in listed(config().api_origins)
        try:
            preflight = scope["method"] == "OPTIONS" and allowed
            scope.setdefault("state", {})["local"] = self._check(scope, headers, allowed, preflight)
        except ModelError as error:
            self._metrics.requests.labels("refused", str(error.status)).inc()
            await answer_to(error, scope["path"])(scope, receive, send)
            return
        if preflight:
            await Response(status_code=204, headers=_cors(origin))(scope, receive, send)
            return
        await self._app(scope, receive, self._counting(scope, send, origin if allowed else ""))

    def _check(self, scope: Scope, headers: Headers, allowed: bool, preflight: bool) -> bool:
        """Whether the caller is of this machine, where no key is asked for.

        Raises:
            Forbidden: the request comes from a web page of another origin, or by a name that isn't ours.
            WrongKey: a key is needed.
        """
        local = self._is_local(scope, headers)
        host = hostname(headers.get("host", ""))
        alone = self._address is None or is_loopback(self._address)
        if (listed(config().api_hosts) or (alone and not is_forwarded(headers))) and host not in own_names():
            raise Forbidden(detail=f"this server is not called {host!r}; HEARTH_API_HOSTS can list further names")
        if not allowed and _foreign(headers):
            raise Forbidden(detail="web pages of other origins may not use it; HEARTH_API_ORIGINS can list them")
        if not local and not preflight and scope["path"] not in _OPEN_PATHS:
            self._ask_for_key(headers)
        return local

    def _is_local(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """See `llm.access.callers.is_local`; with HEARTH_API_ACCESS=key nobody is."""
        ends = [(scope.get(end) or ("", 0))[0] for end in ("server", "client")]
        return config().api_access != "key" and is_local(self._address, ends, headers)

    def _ask_for_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if not key and headers.get("x-api-key"):  # as Anthropic's clients send it
            scheme, key = "bearer", headers["x-api-key"]
        if scheme.lower() != "bearer" or not key.strip():
            raise WrongKey(detail="send it as `Authorization: Bearer KEY`; `python -m llm keys create NAME` makes one")
        if not self._keys.accepts(key.strip()):
            raise WrongKey(detail="the one that was sent is not valid here")

    def _counting(self, scope: Scope, send: Send, origin: str) -> Send:
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["x-request-id"] = f"req_{uuid.uuid4().hex}"
                for name, value in _cors(origin).items() if origin else ():
                    headers[name] = value
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.requests.labels(route, str(message["status"])).inc()
                self._metrics.answer_s.labels(route).observe(time.perf_counter() - started)
            await send(message)

        return counted


def _headers_only(send: Send) -> Send:
    async def sent(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sent


def _foreign(headers: Headers) -> bool:
    """Whether a browser sent the request for a page of another origin."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    # Reads of another site's page (images, scripts) come without Origin; typed addresses say "none".
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _cors(origin: str) -> dict[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "*, authorization",  # the official client sends a dozen of its own
        "access-control-expose-headers": "x-request-id",
        "vary": "Origin",
    }
