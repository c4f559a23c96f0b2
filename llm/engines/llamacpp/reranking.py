"""How well texts answer a question, by a GGUF reranker (bge-reranker, Qwen3-Reranker ...): llama.cpp's rank pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue import gguf
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.llamacpp.embeddings import error_of, longest, pooling_server
from llm.errors import Cancelled, UnsupportedModel
from llm.plan import LoadPlan, LoadProgress

_RANK = 4  # llama.cpp's enum llama_pooling_type
_TOGETHER = 8
_GIVES_SHARES = ("qwen3", "qwen3vl")
"""Whose score llama.cpp has already made a share of "yes" against "no" (`llm_graph_context::build_pooling`)."""


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Reranker:
    """Weights with a ranking head.

    Raises:
        UnsupportedModel: the file has none.
        CorruptModel: the file is no GGUF. MissingPackage: xllamacpp is not installed. ModelError: llama.cpp refuses it.
    """
    progress("weights", 0, 1)
    reranker = Reranker(path)
    progress("weights", 1, 1)
    return reranker


class Reranker:
    """A llama.cpp server that reads a question and a text together and gives one number."""

    def __init__(self, path: Path) -> None:
        header = gguf.read_header(path)
        if not header.ranks:
            raise UnsupportedModel(path=path.name, detail="it has no ranking head")
        self._weight_bytes = header.tensor_bytes
        self._gives_shares = header.architecture in _GIVES_SHARES
        self.max_tokens = longest(header)
        self._server: Any = pooling_server(header, _RANK)

    def rank(self, question: str, texts: Sequence[str], cancel: Cancel) -> tuple[list[float], int]:
        """How well each text answers, from 0 to 1, and how many tokens were read.

        Raises:
            MessageTooLong: question and text together have more than `max_tokens`.
            Cancelled: `cancel` was set between two batches.
        """
        scores: list[float] = []
        tokens = 0
        for start in range(0, len(texts), _TOGETHER):
            if cancel.is_set():
                raise Cancelled(what="The ranking")
            part = list(texts[start : start + _TOGETHER])
            answer: dict[str, Any] = self._server.handle_rerank({"query": question, "documents": part})
            if "error" in answer:
                raise error_of(answer["error"], self.max_tokens)
            rows = sorted(answer["results"], key=lambda row: row["index"])
            scores += [self._share(float(row["relevance_score"])) for row in rows]
            tokens += answer["usage"]["prompt_tokens"]
        return scores, tokens

    def _share(self, score: float) -> float:
        """The logistic function of a head's single output; what is a share already stays."""
        return score if self._gives_shares else 1 / (1 + math.exp(-max(-500.0, min(500.0, score))))

    def memory(self) -> MemoryUse:
        """The weights, as they are stored."""
        return MemoryUse({"cpu": self._weight_bytes})

    def close(self) -> None:
        """Frees the server once nobody ranks with it any more."""
        self._server = None
