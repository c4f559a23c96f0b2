"""/v1/fine_tuning/jobs: runs of training in OpenAI's shape; the Fine-tune page shows the same runs."""

from __future__ import annotations

from typing import Any

import fastapi
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from llm.api.bodies import BoundedRoute
from llm.api.fine_tuning_schemas import (
    JOB,
    JobRequest,
    Request,
    checkpoint_objects,
    event_objects,
    job_object,
    status_of,
)
from llm.api.kept_files import KeptFile, kept_file
from llm.api.kept_responses import caller_of
from llm.api.models import entry_of
from llm.api.pages import After, Limit, page
from llm.errors import Busy, InvalidRequest, NotFound
from llm.finetune.data import Dataset, Row, save_set
from llm.finetune.files import read_file
from llm.finetune.run import Run, all_runs, get_run
from llm.finetune.start import KIND, begin, job_of, new_run
from llm.jobs import jobs

MOST_WAITING = 16
"""Runs of one caller that train or wait for their turn."""
NAMED_ROWS = 10
"""So many bad rows are named in an error."""
_ENDS_WITHIN_S = 10.0
"""How long a request waits to see that training has ended or paused; it goes on doing so afterwards."""


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=BoundedRoute)

    @group.post("")
    async def create(body: JobRequest, request: fastapi.Request) -> dict[str, Any]:
        """Begins a run. Its end answers as `fine_tuned_model`; rows are held out where no validation file is given."""
        return await run_in_threadpool(_create, body, request)

    @group.get("")
    async def listed(request: fastapi.Request, after: After = "", limit: Limit = 20) -> dict[str, Any]:
        """The caller's runs, the newest first; `metadata[name]=value` narrows them."""
        wanted = {n[9:-1]: v for n, v in request.query_params.items() if n.startswith("metadata[") and n.endswith("]")}

        def found() -> list[dict[str, Any]]:
            every = [job_object(run) for run in all_runs(caller_of(request))]
            return [one for one in every if wanted.items() <= one["metadata"].items()]

        return page(await run_in_threadpool(found), after, limit)

    @group.get("/{job_id}")
    async def one(job_id: str, request: fastapi.Request) -> dict[str, Any]:
        """How a run is going."""
        return await run_in_threadpool(lambda: job_object(_run(job_id, request)))

    @group.get("/{job_id}/events")
    async def events(job_id: str, request: fastapi.Request, after: After = "", limit: Limit = 20) -> dict[str, Any]:
        """Steps, losses and checkpoints, the newest first."""
        return page(await run_in_threadpool(lambda: event_objects(_run(job_id, request))), after, limit)

    @group.get("/{job_id}/checkpoints")
    async def checkpoints(
        job_id: str, request: fastapi.Request, after: After = "", limit: Limit = 10
    ) -> dict[str, Any]:
        """The checkpoints that are kept; each answers under its `fine_tuned_model_checkpoint`."""
        return page(await run_in_threadpool(lambda: checkpoint_objects(_run(job_id, request))), after, limit)

    @group.post("/{job_id}/cancel")
    async def cancel(job_id: str, request: fastapi.Request) -> dict[str, Any]:
        """Ends a run after the step in work; what it has learnt stays as a checkpoint."""
        return await run_in_threadpool(_end, _run(job_id, request), "cancel")

    @group.post("/{job_id}/pause")
    async def pause(job_id: str, request: fastapi.Request) -> dict[str, Any]:
        """Pauses a run after the step in work; its memory is free until it is resumed."""
        return await run_in_threadpool(_end, _run(job_id, request), "pause")

    @group.post("/{job_id}/resume")
    async def resume(job_id: str, request: fastapi.Request) -> dict[str, Any]:
        """Goes on with a run that was paused, was cancelled or has failed, from its last checkpoint."""

        def go_on(run: Run) -> dict[str, Any]:
            job = job_of(run)
            if job is None or job.active or job.state == "done":
                raise InvalidRequest(detail=f"the job is {status_of(job)}, so there is nothing to resume")
            jobs().resume(job.id)
            return job_object(run)

        return await run_in_threadpool(go_on, _run(job_id, request))

    return group


def _run(job_id: str, request: fastapi.Request) -> Run:
    """
    Raises:
        NotFound: there is no such job of the caller's.
    """
    if not job_id.startswith(JOB):
        raise NotFound(what="fine-tuning job", id=job_id[:64])
    return get_run(job_id.removeprefix(JOB), caller_of(request))


def _create(body: JobRequest, request: fastapi.Request) -> dict[str, Any]:
    caller = caller_of(request)
    entry = entry_of(body.model, request)
    if entry.is_remote or entry.adapter is not None or "text" not in entry.abilities:
        raise InvalidRequest(detail=f"{body.model} is no chat model of this machine's own", param="model")
    waiting = sum(job.active for job in jobs().all(caller, KIND))
    if waiting >= MOST_WAITING:
        raise Busy(waiting=waiting)
    file = kept_file(body.training_file, caller)
    data = _data(file, body, caller)
    settings = body.train_settings(len(data.training), entry.parameters)
    run = new_run(data, entry.id, settings, body.suffix or data.name, caller, serve=settings.method != "full")
    multiplier = body.method.hyperparameters.learning_rate_multiplier
    if multiplier == "auto":
        multiplier = body.hyperparameters.learning_rate_multiplier
    Request(body.training_file, body.validation_file, body.suffix, multiplier, body.metadata).write(run)
    begin(run)
    return job_object(run)


def _data(file: KeptFile, body: JobRequest, caller: str) -> Dataset:
    """The rows of both files as a set of the training file's name; without a validation file some are held out."""
    rows = _rows(file, "training_file")
    held_out = None
    if body.validation_file:
        asked = _rows(kept_file(body.validation_file, caller), "validation_file")
        held_out = range(len(rows), len(rows) + len(asked))
        rows = [*rows, *asked]
    return save_set(file.filename.rpartition(".")[0] or file.filename, rows, held_out, caller, file.filename)


def _rows(file: KeptFile, param: str) -> list[Row]:
    """
    Raises:
        InvalidRequest: a row is none, or there is none at all.
        ModelError: the file cannot be read.
    """
    rows, problems = read_file(file.filename, file.path.read_bytes())
    if problems:
        named = ", ".join(f"{one.number} ({one.code})" for one in problems[:NAMED_ROWS])
        raise InvalidRequest(detail=f"{file.filename}: {len(problems)} rows cannot be used: {named}", param=param)
    if not rows:
        raise InvalidRequest(detail=f"{file.filename} holds no rows", param=param)
    return rows


def _end(run: Run, how: str) -> dict[str, Any]:
    """Pauses or cancels, and waits a little until it is so."""
    job = job_of(run)
    if job is None or job.state in ("done", "cancelled") or (how == "pause" and not job.active):
        raise InvalidRequest(detail=f"the job is {status_of(job)}, so it cannot be told to {how}")
    if how == "pause":
        jobs().pause(job.id)
    else:
        jobs().cancel(job.id)
    jobs().wait(job.id, _ENDS_WITHIN_S)
    return job_object(run)
