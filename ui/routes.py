"""HTTP routes that the server has beside the pages."""

from __future__ import annotations

from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """All routes, in the order in which they are tried."""
    return []
