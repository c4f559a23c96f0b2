"""A loaded model of one job (classes, boxes, masks ...) as everybody sees it; `llm.tasks` knows what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory


class TaskModel:
    """See `llm.runtime.protocols.LoadedModel`."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Any) -> None:
        self.entry = entry
        self.plan = plan
        self.use = UseCount(limit=64)
        self.closed = False
        self._engine = engine

    @contextmanager
    def in_use(self) -> Iterator[Any]:
        """The engine's weights, which are not freed meanwhile.

        Raises:
            Busy: too many are waiting.
            OutOfMemory: the work took more than there is; the sentence says what would fit.
        """
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            yield self._engine

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        held: MemoryUse = self._engine.memory()
        return held

    def close(self) -> None:
        """Frees the weights."""
        self.closed = True
        self._engine.close()
