"""A loaded CLIP as everybody sees it: captions for a picture, ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.messages import ImagePart
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory

if TYPE_CHECKING:
    from llm.engines.clip import Clip


class ClipCaptionModel:
    """See `llm.runtime.protocols.CaptionModel`."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Clip) -> None:
        self.entry = entry
        self.plan = plan
        self.use = UseCount(limit=64)
        self.closed = False
        self._engine = engine

    def rank(self, part: ImagePart, captions: Sequence[str]) -> list[tuple[str, float]]:
        """See `llm.engines.clip.Clip.rank`.

        Raises:
            Busy: too many are waiting.
        """
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            return self._engine.rank(part, captions)

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        return self._engine.memory()

    def close(self) -> None:
        """Frees the weights."""
        self.closed = True
        self._engine.close()
