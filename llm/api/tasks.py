"""/v1/tasks/{task}: one job on one input, answered as transformers' pipelines answered it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

import llm.tasks
from llm.api.models import entry_of
from llm.api.work import result
from llm.cancel import Cancel
from llm.config import config
from llm.errors import BlankText, InvalidRequest, NoMask
from llm.tasks.registry import spec_of
from llm.tasks.shapes import as_pipeline

MOST_INPUTS = 1000
"""Of one request; tables of more rows are a job of the Tasks page, or of the terminal."""
_BODY = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"description": "A text, or {question, context}; or a list."},
                        "model": {"type": "string"},
                        "parameters": {"type": "object"},
                    },
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "parameters": {"type": "string", "description": "JSON"},
                    },
                }
            },
        }
    }
}


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/tasks", tags=["tasks"])

    @group.post("/{task}", max_body_size=config().api_upload_mib << 20, openapi_extra=_BODY)
    async def do_task(task: str, request: Request) -> Any:
        """Does a job by the hubs' tag or the tutorials' name (`ner`, `sentiment-analysis` ...).

        Texts come as JSON in the shape of the hubs' inference API, pictures and sound as a form with `file`. A list of
        inputs gets a list of answers, where {"error": …} stands for one that says nothing or has no gap.
        """
        spec = spec_of(task)
        body, data = await _body(request)
        given: Any = body.get("inputs")
        several = data is None and _is_several(given, len(spec.inputs))
        many = (
            [[data]] if data is not None else [_texts(one, len(spec.inputs)) for one in (given if several else [given])]
        )
        if (data is not None) != (spec.run is None):
            raise InvalidRequest(detail=f"{task} takes {'a file' if spec.run is None else 'JSON with inputs'}")
        model, options = str(body.get("model") or ""), body.get("parameters") or {}
        if not isinstance(options, dict) or set(options) & {"model", "cancel"}:
            raise InvalidRequest(detail="parameters must be an object of the job's own", param="parameters")

        def work(cancel: Cancel) -> Any:
            entry: Any = entry_of(model, request) if model else ""
            answers = []
            for inputs in many:
                try:
                    answers.append(as_pipeline(llm.tasks.run(task, *inputs, model=entry, cancel=cancel, **options)))
                except (BlankText, NoMask) as error:
                    if not several:
                        raise
                    answers.append({"error": {"code": error.code, "message": str(error)}})
            return answers if several else answers[0]

        return await result(request, model or spec.task, work)

    return group


async def _body(request: Request) -> tuple[Mapping[str, Any], bytes | None]:
    """The fields, and the file's bytes where there is one.

    Raises:
        InvalidRequest: neither JSON nor a form.
    """
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            form = await request.form(max_files=1, max_fields=8)
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequest(detail="the form has no file", param="file")
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            return fields | {"parameters": json.loads(fields.get("parameters") or "{}")}, await file.read()
        found = await request.json()
    except ValueError as error:
        raise InvalidRequest(detail=f"the body is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InvalidRequest(detail="the body must be an object with inputs")
    return found, None


def _is_several(given: Any, count: int) -> bool:
    """Whether it is a list of inputs, answered by a list of answers; a question and its text are one.

    Raises:
        InvalidRequest: there are none, or too many.
    """
    if not isinstance(given, list) or (count == 2 and all(isinstance(one, str) for one in given)):
        return False
    if not 1 <= len(given) <= MOST_INPUTS:
        raise InvalidRequest(detail=f"inputs must be 1 to {MOST_INPUTS}", param="inputs")
    return True


def _texts(given: Any, count: int) -> list[str]:
    """
    Raises:
        InvalidRequest: they are not what the job takes.
    """
    if isinstance(given, dict):
        given = [given.get("question"), given.get("context")]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or len(texts) != count or not all(isinstance(text, str) for text in texts):
        wanted = "an object with question and context" if count == 2 else "one text"
        raise InvalidRequest(detail=f"inputs must be {wanted}", param="inputs")
    return texts
