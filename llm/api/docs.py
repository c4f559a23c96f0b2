"""/v1/docs: what there is to call, as one page without a script and without anything from elsewhere."""

from __future__ import annotations

import html
import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
       color-scheme: light dark; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; } pre { overflow-x: auto; }
summary { cursor: pointer; padding: .3rem 0; } summary code { font-size: 1rem; }
"""


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", include_in_schema=False)

    @group.get("/docs")
    async def docs(request: Request) -> HTMLResponse:
        """The description of the API, drawn."""
        return HTMLResponse(_page(request.app.openapi()))

    return group


def _page(described: dict[str, Any]) -> str:
    title, words = html.escape(described["info"]["title"]), html.escape(described["info"].get("description", ""))
    shapes = described.get("components", {}).get("schemas", {})
    rows = "".join(
        _call(method, path, call) for path, calls in described["paths"].items() for method, call in calls.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title} API</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p>{words}</p><p><a href="openapi.json">openapi.json</a></p>{rows}'
        f"<h2>Shapes</h2>{''.join(_shape(name, shape) for name, shape in shapes.items())}</html>"
    )


def _call(method: str, path: str, call: dict[str, Any]) -> str:
    told = {name: call[name] for name in ("parameters", "requestBody") if name in call}
    summary = f"<code>{method.upper()} {html.escape(path)}</code> {html.escape(call.get('description', ''))}"
    return f"<details><summary>{summary}</summary>{_json(told)}</details>"


def _shape(name: str, shape: dict[str, Any]) -> str:
    return f"<details><summary><code>{html.escape(name)}</code></summary>{_json(shape)}</details>"


def _json(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
