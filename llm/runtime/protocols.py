"""What a loaded model offers to whoever uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.events import Event
from llm.messages import MessageLike
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.settings import GenerationSettings


class LoadedModel(Protocol):
    """What `llm.load` returns, shared by everybody."""

    entry: ModelEntry
    plan: LoadPlan

    def prompt(self, messages: Sequence[MessageLike], tools: Sequence[Mapping] | None = None) -> Prompt: ...

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping] | None = None,
    ) -> Iterator[Event]: ...

    def memory(self) -> MemoryUse: ...

    def close(self) -> None: ...
