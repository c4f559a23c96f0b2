"""What every request to the pages passes before Streamlit sees it.

A page that a stranger's web site opens by a name which it made point here ("DNS rebinding") would show everything that
the visitor's own pages show; so names are checked for pages, WebSockets and files alike. What is sent back tells the
browser to fetch nothing from elsewhere by itself: an answer, a document or a model's card could otherwise carry the
visitor's words out in the address of a picture.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm.access.addresses import is_loopback
from llm.access.callers import hostname, is_forwarded, is_local, listed, own_names
from llm.config import config

_ONCE = ("host", "origin")
_PRIVATE = ("/_stcore/metrics",)


class FrontDoor:
    """ASGI middleware around pages and API.

    Args:
        address: where the server listens.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        status, words = self._refusal(scope, headers)
        if not status:
            await self._app(scope, receive, _with_policy(scope, send, headers.get("host", "")))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": words[:120]})
        else:
            await PlainTextResponse(words, status)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str]:
        """Status and sentence for a request that goes no further; 0 for all others."""
        if any(len(headers.getlist(name)) > 1 for name in _ONCE):
            return 400, "A request has one Host and one Origin."
        host, origin = headers.get("host", ""), headers.get("origin")
        if is_loopback(self._address) and not is_forwarded(headers.keys()) and hostname(host) not in own_names():
            return 403, f"This server is not called {hostname(host)[:100]!r}; HEARTH_API_HOSTS can list further names."
        if scope["type"] == "websocket" and origin is not None and not _own_origin(origin, host):
            return 403, "Web pages of other origins may not use it; HEARTH_API_ORIGINS can list them."
        if scope["path"].endswith(_PRIVATE):
            ends = [(scope.get(end) or ("", 0))[0] for end in ("server", "client")]
            if not is_local(self._address, ends, headers):
                return 403, "Only for this machine."
        return 0, ""


def _own_origin(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc.lower() == host.lower() or origin.lower() in listed(config().api_origins)


def _with_policy(scope: Scope, send: Send, host: str) -> Send:
    """Adds what the page may fetch, and who may frame it, to what is sent."""
    if scope["type"] != "http":
        return send
    sockets = f"ws://{host} wss://{host}" if hostname(host) else ""
    policy = "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            f"connect-src 'self' data: blob: {sockets}".rstrip(),
            "worker-src 'self' blob:",
            "frame-src 'self' data: blob:",
            "frame-ancestors 'self'",
            "object-src 'none'",
            "base-uri 'self'",
        )
    )

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            headers["referrer-policy"] = "no-referrer"
            headers["x-content-type-options"] = "nosniff"
        await send(message)

    return sent
