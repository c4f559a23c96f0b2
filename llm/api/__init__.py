"""The HTTP API: OpenAI's routes over the model handles of this process.

app = st.App(__file__, routes=llm.api.routes(address=st.get_option("server.address")))   # beside the pages
uvicorn.run(create_api("127.0.0.1"))                                                    # alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = ["PATHS", "routes"]

PATHS = ("/v1/{path:path}", "/health", "/metrics")
"""What the API answers, in Starlette's notation."""


def routes(address: str | None = None) -> list[BaseRoute]:
    """Routes for a server that has others beside them.

    Args:
        address: where that server listens; None is not known, and then each connection is judged by its own.
    """
    from starlette.routing import Route

    from llm.api.app import create_api

    # A route keeps the whole path, where a mount would cut it; so the app is the same alone and beside pages.
    api = create_api(address)
    return [Route(path, api) for path in PATHS]
