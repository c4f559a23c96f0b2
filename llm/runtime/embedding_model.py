"""A loaded model that only makes vectors of texts, and what it wants done to texts before it reads them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory

Role: TypeAlias = Literal["query", "passage", "none"]


def prepared(entry: ModelEntry, inputs: Sequence[str | Sequence[int]], role: Role) -> list[str | Sequence[int]]:
    """Texts as the embedder was trained to see them: normalised, and with the prefix of their role.

    A text that has one of the prefixes already keeps it; `none` and token ids are left as they are.
    """
    if role == "none":
        return list(inputs)
    prefixes = tuple(prefix for prefix in (entry.query_prefix, entry.passage_prefix) if prefix)
    prefix = entry.query_prefix if role == "query" else entry.passage_prefix
    ready: list[str | Sequence[int]] = []
    for text in inputs:
        if isinstance(text, str):
            text = unicodedata.normalize(entry.normal_form, text) if entry.normal_form else text
            text = text if prefixes and text.startswith(prefixes) else prefix + text
        ready.append(text)
    return ready


class EmbeddingModel:
    """See `llm.runtime.protocols.Embedder`."""

    can_embed = True

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Any) -> None:
        # A model that the catalogue does not know says itself what it wants before a question or a passage.
        query, passage = (getattr(engine, name, "") for name in ("query_prefix", "passage_prefix"))
        named = entry.query_prefix or entry.passage_prefix
        self.entry = entry if named else replace(entry, query_prefix=query, passage_prefix=passage)
        self.plan = plan
        self.use = UseCount(limit=64)
        self.closed = False
        self._engine = engine

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """See `llm.runtime.protocols.Embedder.embed`; the texts are read as they are, see `prepared`."""
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            vectors: tuple[list[list[float]], int] = self._engine.embed(inputs, cancel or Cancel())
            return vectors

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        held: MemoryUse = self._engine.memory()
        return held

    def close(self) -> None:
        """Frees the weights."""
        self.closed = True
        self._engine.close()
