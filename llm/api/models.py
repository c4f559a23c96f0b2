"""/v1/models, and which model a request means."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from llm.api.kept_responses import caller_of
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import READER, adapted, entries, find, installed, near, where
from llm.errors import UnknownModel
from llm.finetune.evaluate import checkpoint_of, tuned_entry
from llm.finetune.run import get_run

_CHECKPOINT = re.compile(r".+@(?P<run>[a-z0-9-]+)-step-(?P<step>\d{1,9})")
"""A checkpoint of a run, as `/v1/fine_tuning/jobs/{id}/checkpoints` names it."""


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["models"])

    @group.get("/models")
    async def listed() -> dict[str, Any]:
        """The models on this machine."""
        return {"object": "list", "data": [described(entry) for entry in await run_in_threadpool(installed)]}

    @group.get("/models/{model:path}")
    async def one(model: str, request: Request) -> dict[str, Any]:
        """One model, by its id."""
        return described(await run_in_threadpool(entry_of, model, request))

    return group


def described(entry: ModelEntry) -> dict[str, Any]:
    """OpenAI's four fields, and what a client may want to know before it asks."""
    place = where(entry)
    return {
        "id": entry.id,
        "object": "model",
        "created": int(place.stat().st_mtime) if place and place.exists() else 0,
        "owned_by": "hearth",
        "name": entry.name,
        "task": entry.task,
        "abilities": sorted(entry.abilities),
        "context_tokens": entry.context_tokens,
    }


def entry_of(model: str, request: Request) -> ModelEntry:
    """The entry that a request names. A path is taken from this machine's own people only.

    Raises:
        UnknownModel, CorruptModel, UnsupportedModel: as `lookup.find`.
    """
    known = {entry.id: entry for entry in [*adapted(), *entries()]}
    if model in known:
        return known[model]
    if checkpoint := _CHECKPOINT.fullmatch(model):
        return _checkpoint(checkpoint["run"], int(checkpoint["step"]), request)
    reading = model.removeprefix(READER)  # a chat model that is given the text of pictures
    if not request.scope["state"]["local"] and reading not in known:
        raise UnknownModel(model=model, known=near(model))
    return find(model)


def _checkpoint(run_id: str, step: int, request: Request) -> ModelEntry:
    """
    Raises:
        NotFound: the run is another caller's, or the checkpoint was let go.
    """
    run = get_run(run_id, caller_of(request))
    return tuned_entry(run, checkpoint_of(run, step))
