"""The app factory: endpoint groups, error shapes, and the guard before them all."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from llm.access.api_keys import Keys
from llm.api import (
    anthropic,
    audio,
    chat,
    completions,
    docs,
    embeddings,
    errors,
    files,
    fine_tuning,
    knowledge,
    models,
    monitor,
    ollama,
    rerank,
    responses,
    tasks,
)
from llm.api.guard import Guard
from llm.api.metrics import Metrics
from llm.api.work import Gate
from llm.config import config
from llm.errors import ModelError

DESCRIPTION = """The models on this machine, by OpenAI's protocol. Any client of that protocol works with
the base URL `http://127.0.0.1:PORT/v1`; a key is needed only where this server listens to other machines."""


def create_api(address: str | None = None) -> FastAPI:
    """An ASGI app with `/v1/...`, `/health` and `/metrics`.

    Args:
        address: where the server that runs it listens; None is not known.
    """
    settings = config()
    api = FastAPI(
        title="Hearth",
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's own page runs scripts of a foreign host
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        max_body_size=settings.api_body_mib << 20,
        form_limits={"max_files": 1, "max_fields": 32, "max_part_size": 1 << 20},
    )
    api.state.gate = Gate(settings.parallel + settings.queue_limit)
    api.state.metrics = Metrics(api.state.gate)
    for group in (
        models,
        chat,
        completions,
        responses,
        embeddings,
        rerank,
        audio,
        anthropic,
        ollama,
        monitor,
        docs,
        tasks,
        files,
        fine_tuning,
        knowledge,
    ):
        api.include_router(group.router())
    api.add_exception_handler(ModelError, errors.on_model_error)
    api.add_exception_handler(RequestValidationError, errors.on_invalid)
    api.add_exception_handler(HTTPException, errors.on_http)
    api.add_exception_handler(Exception, errors.on_crash)
    api.add_middleware(Guard, address=address, keys=Keys(), metrics=api.state.metrics)
    return api
