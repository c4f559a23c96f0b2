"""Reranking over HTTP, in the words of Jina's and Cohere's clients."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Served
from tests.engines.test_reranking import reranker_file


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reranker_file(tmp_path_factory.mktemp("ranker"))


def test_documents_come_back_sorted_with_their_places(served: Served, ranker: Path) -> None:
    asked = {"model": str(ranker), "query": "保修", "documents": ["好", {"text": "两年"}, "warranty"]}
    found = httpx.post(f"{served.url}/v1/rerank", json={**asked, "return_documents": True}, timeout=60).json()
    scores = [row["relevance_score"] for row in found["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    texts = ["好", "两年", "warranty"]
    assert [row["document"]["text"] for row in found["results"]] == [texts[row["index"]] for row in found["results"]]
    first = httpx.post(f"{served.url}/v1/rerank", json={**asked, "top_n": 1}, timeout=60).json()
    assert [row["index"] for row in first["results"]] == [found["results"][0]["index"]]
    assert "document" not in first["results"][0] and first["usage"]["total_tokens"] > 0


def test_what_cannot_be_ranked_is_a_clear_400(served: Served, ranker: Path, model: str) -> None:
    too_long = {"model": str(ranker), "query": "保修", "documents": ["两年" * 60]}
    for body in (too_long, {"model": model, "query": "a", "documents": ["b"]}, {"model": model, "query": "a"}):
        answer = httpx.post(f"{served.url}/v1/rerank", json=body, timeout=60)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]["message"]
