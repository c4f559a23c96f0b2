"""/health and /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response


def router() -> APIRouter:
    group = APIRouter(tags=["monitoring"])

    @group.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @group.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Prometheus' text format."""
        return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")

    return group
