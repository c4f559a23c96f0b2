"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` with its status codes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from llm.errors import ModelError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2

# What OpenAI calls the same, where it has a name for it.
_CODES = {
    "unknown_model": (404, "model_not_found"),
    "model_not_there": (404, "model_not_found"),
    "message_too_long": (400, "context_length_exceeded"),
    "busy": (429, "rate_limit_exceeded"),
    "wrong_key": (401, "invalid_api_key"),
}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def body(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for an error of a model. What isn't one says nothing of its inside."""
    if not isinstance(error, ModelError):
        log.error("An answer failed", exc_info=error)
        return 500, body("Something went wrong here; the server's log says what.", 500, "internal_error")
    status, code = _CODES.get(error.code, (error.status, error.code))
    return status, body(str(error), status, code, error.values.get("param"))


# Paths of protocols that tell errors in a shape of their own.
_SHAPES: tuple[tuple[str, Callable[[int, dict[str, Any]], dict[str, Any]]], ...] = (
    ("/v1/messages", lambda status, content: anthropic_shape(status, content)),
    ("/api/", lambda status, content: {"error": content["error"]["message"]}),
)
_ANTHROPIC_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
                    413: "request_too_large", 429: "rate_limit_error"}  # fmt: skip


def anthropic_shape(status: int, content: dict[str, Any]) -> dict[str, Any]:
    """An error as Anthropic's clients read it (docs.anthropic.com, "Errors")."""
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": content["error"]["message"]}}


def shaped(path: str, status: int, content: dict[str, Any]) -> dict[str, Any]:
    """An error's body in the shape of the protocol that the path belongs to."""
    return next((shape(status, content) for begin, shape in _SHAPES if path.startswith(begin)), content)


def answer_to(error: Exception, path: str = "") -> JSONResponse:
    """The response for an error; `path` is what was asked for."""
    status, content = body_of(error)
    headers = {}
    if status == 429:
        headers["retry-after"] = str(RETRY_AFTER_S)
    elif status != 502:
        # The official clients repeat some errors by themselves; these come out the same each time.
        headers["x-should-retry"] = "false"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(shaped(path, status, content), status, headers)


async def on_model_error(request: Request, error: Exception) -> JSONResponse:
    return answer_to(error, request.url.path)


async def on_crash(request: Request, error: Exception) -> JSONResponse:
    answer = answer_to(error, request.url.path)
    answer.headers["connection"] = (
        "close"  # the server ends it after raising, and a client's next request would be lost
    )
    return answer


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that isn't what the endpoint takes. The value itself is not repeated: it may be large or private."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    message = f"{first['msg']}{f' (at {place})' if place else ''}"
    if first["type"] == "json_invalid":
        message = "The body is not valid JSON."
    content = shaped(request.url.path, 400, body(message, 400, first["type"], place or None))
    return JSONResponse(content, 400, {"x-should-retry": "false"})


async def on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}
    message = _no_such_place(request) if error.status_code in (404, 405) else error.detail
    content = body(str(message), error.status_code, codes.get(error.status_code))
    content = shaped(request.url.path, error.status_code, content)
    return JSONResponse(content, error.status_code, {**(error.headers or {}), "x-should-retry": "false"})


def _no_such_place(request: Request) -> str:
    """What is not here, and where it is if only its begin or a slash was wrong."""
    path = request.url.path
    plain = re.sub("/{2,}", "/", path).rstrip("/")
    places = request.app.openapi()["paths"]
    right = next((place for place in (plain, f"/v1{plain}", plain.replace("/v1/v1", "/v1")) if place in places), "")
    hint = f" It is at {right}." if right and right != path else ""
    return f"There is no {request.method} {path} here.{hint}"
