"""The HTTP API: the routes of OpenAI, Anthropic and Ollama over the model handles of this process.

app = st.App(__file__, routes=llm.api.routes(address=st.get_option("server.address")))   # beside the pages
uvicorn.run(create_api("127.0.0.1"))                                                    # alone
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PATHS", "routes"]

PATHS = (
    "/v1/{path:path}",
    "/api/{path:path}",
    "/health",
    "/metrics",
    # Where clients ask whose base URL lacks its /v1; the answer says where it is. "/models" is a page's.
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/audio/{path:path}",
)
"""What the API answers, in Starlette's notation."""


def routes(address: str | None = None, base: str = "") -> list[BaseRoute]:
    """Routes for a server that has others beside them.

    Args:
        address: where that server listens; None is not known, and then each connection is judged by its own.
        base: the path below which the pages are served (Streamlit's `server.baseUrlPath`); the API is there too.
    """
    from starlette.routing import Route

    # A route keeps the whole path, where a mount would cut it; so the app is the same alone and beside pages.
    prefix = f"/{base.strip('/')}" if base.strip("/") else ""
    api = _WhenAsked(address, prefix)
    return [Route(prefix + path, api) for path in PATHS]


class _WhenAsked:
    """The API, made at its first request: FastAPI takes most of a second, which the first page need not wait for."""

    def __init__(self, address: str | None, prefix: str = "") -> None:
        self._address = address
        self._prefix = prefix
        self._lock = threading.Lock()
        self._api: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = self._api if self._api is not None else await asyncio.to_thread(self._made)
        if self._prefix:
            path = scope["path"].removeprefix(self._prefix)
            scope = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
        await api(scope, receive, send)

    def _made(self) -> ASGIApp:
        from llm.api.app import create_api

        with self._lock:
            if self._api is None:
                self._api = create_api(self._address)
            return self._api
