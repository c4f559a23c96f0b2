"""/v1/embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

from fastapi import APIRouter, Request

from llm.api.bodies import BoundedRoute
from llm.api.models import entry_of
from llm.api.schemas import EmbeddingRequest
from llm.api.work import result
from llm.cancel import Cancel
from llm.errors import InvalidRequest
from llm.runtime import handles
from llm.runtime.embedding_model import prepared


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["embeddings"], route_class=BoundedRoute)

    @group.post("/embeddings")
    async def embeddings(body: EmbeddingRequest, request: Request) -> dict[str, Any]:
        """Vectors of length one for texts or token ids."""
        vectors, tokens = await result(request, body.model, lambda cancel: _vectors(body, request, cancel))
        encode = _base64 if body.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    return group


def _vectors(body: EmbeddingRequest, request: Request, cancel: Cancel) -> tuple[list[list[float]], int]:
    entry = entry_of(body.model, request)
    given: Any = body.input
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    model = handles.embedder(entry)
    vectors, tokens = model.embed(prepared(model.entry, inputs, body.input_type), cancel)
    if body.dimensions is not None and body.dimensions != len(vectors[0]):
        raise InvalidRequest(detail=f"its vectors have {len(vectors[0])} dimensions", param="dimensions")
    return vectors, tokens


def _base64(vector: list[float]) -> str:
    """32-bit little-endian floats, as OpenAI's clients read them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
