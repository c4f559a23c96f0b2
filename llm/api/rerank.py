"""/v1/rerank: texts sorted by how well they answer a question, in the shape that Jina's and Cohere's clients know."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request

from llm.api.bodies import BoundedRoute
from llm.api.models import entry_of
from llm.api.schemas import RerankRequest
from llm.api.work import result
from llm.runtime import handles


def router() -> APIRouter:
    group = APIRouter(prefix="/v1", tags=["rerank"], route_class=BoundedRoute)

    @group.post("/rerank")
    async def rerank(body: RerankRequest, request: Request) -> dict[str, Any]:
        """The documents with a relevance from 0 to 1, the best first."""
        texts = [one if isinstance(one, str) else one.text for one in body.documents]
        scores, tokens = await result(
            request,
            body.model,
            lambda cancel: handles.reranker(entry_of(body.model, request)).rank(body.query, texts, cancel),
        )
        order = sorted(range(len(texts)), key=lambda place: -scores[place])[: body.top_n]
        shown = {place: {"document": {"text": texts[place]}} if body.return_documents else {} for place in order}
        return {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": body.model,
            "results": [{"index": place, "relevance_score": scores[place], **shown[place]} for place in order],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"tokens": {"input_tokens": tokens}},
        }

    return group
