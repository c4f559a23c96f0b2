"""/v1/files: rows to train on, kept until a job of `/v1/fine_tuning` names them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from llm.api.kept_files import forget_file, keep_file, kept_file, kept_files
from llm.api.kept_responses import caller_of
from llm.api.pages import After, Limit, page
from llm.config import config
from llm.errors import InvalidRequest
from llm.finetune.files import TYPES


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/files", tags=["files"])

    @group.post("", max_body_size=config().api_upload_mib << 20)
    async def upload(
        request: Request,
        file: Annotated[UploadFile, File()],
        purpose: Annotated[str, Form(max_length=64)],
        anchor: Annotated[Literal["created_at"], Form(alias="expires_after[anchor]")] = "created_at",
        expires_s: Annotated[int, Form(alias="expires_after[seconds]", ge=0, le=2_592_000)] = 0,
    ) -> dict[str, Any]:
        """Keeps a file of rows: JSON lines in OpenAI's layout, or whatever the Fine-tune page reads."""
        name = file.filename or "rows.jsonl"
        if purpose != "fine-tune":
            raise InvalidRequest(detail="files are kept for the purpose fine-tune only", param="purpose")
        if Path(name).suffix.lower().removeprefix(".") not in TYPES:
            raise InvalidRequest(detail=f"{name} is none of {', '.join(TYPES)}", param="file")
        kept = await run_in_threadpool(keep_file, file.file, name, purpose, caller_of(request), expires_s)
        return kept.to_openai()

    @group.get("")
    async def listed(
        request: Request,
        purpose: str = "",
        after: After = "",
        limit: Limit = 10_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        """The caller's files, the newest first."""
        found = await run_in_threadpool(kept_files, caller_of(request))
        found = found if order == "desc" else found[::-1]
        return page([file.to_openai() for file in found if purpose in ("", file.purpose)], after, limit)

    @group.get("/{file_id}")
    async def one(file_id: str, request: Request) -> dict[str, Any]:
        """What is known of a file."""
        return kept_file(file_id, caller_of(request)).to_openai()

    @group.get("/{file_id}/content", response_class=FileResponse)
    async def content(file_id: str, request: Request) -> FileResponse:
        """The file as it was sent."""
        found = kept_file(file_id, caller_of(request))
        return FileResponse(found.path, media_type="application/octet-stream", filename=found.filename)

    @group.delete("/{file_id}")
    async def delete(file_id: str, request: Request) -> dict[str, Any]:
        """Forgets a file. Runs that were trained on it keep their own copy of its rows."""
        await run_in_threadpool(forget_file, file_id, caller_of(request))
        return {"id": file_id, "object": "file", "deleted": True}

    return group
