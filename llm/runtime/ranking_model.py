"""A loaded model that tells how well texts answer a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory


class RankingModel:
    """See `llm.runtime.protocols.Reranker`."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Any) -> None:
        self.entry = entry
        self.plan = plan
        self.use = UseCount(limit=64)
        self.closed = False
        self._engine = engine

    def rank(self, question: str, texts: Sequence[str], cancel: Cancel | None = None) -> tuple[list[float], int]:
        """See `llm.runtime.protocols.Reranker.rank`."""
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            scores: tuple[list[float], int] = self._engine.rank(question, texts, cancel or Cancel())
            return scores

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        held: MemoryUse = self._engine.memory()
        return held

    def close(self) -> None:
        """Frees the weights."""
        self.closed = True
        self._engine.close()
