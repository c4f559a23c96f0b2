"""A model with an adapter: the model's own loaded weights, and what was learnt beside them added in each answer."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.adapters import AdapterNote, check_base
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.engine import MemoryUse
from llm.errors import AdapterRefused, NotFound, UnsupportedContent
from llm.events import Event
from llm.messages import MessageLike
from llm.prompt import Prompt
from llm.runtime.chat_model import EngineChatModel
from llm.runtime.protocols import ChatModel
from llm.settings import GenerationSettings


class AdaptedModel:
    """See `llm.runtime.protocols.ChatModel`. Costs next to nothing to make.

    Args:
        entry: the model's with its adapter, made by `llm.catalogue.lookup.with_adapter`.
        chat: the loaded model, shared with everybody else.

    Raises:
        AdapterRefused: the adapter is for other weights, or these cannot take one.
        CorruptModel: its files are damaged.
        NotFound: it was deleted.
    """

    can_embed = False

    def __init__(self, entry: ModelEntry, chat: ChatModel) -> None:
        if entry.adapter is None or not isinstance(chat, EngineChatModel):
            raise AdapterRefused(adapter=entry.id, model=chat.entry.name, detail="its weights are not on this machine")
        self.entry = entry
        self.chat = chat
        self.plan = chat.plan
        self.use = chat.use
        place = where(entry)
        note = AdapterNote.read(entry.adapter)
        if place is None or note is None:
            raise NotFound(what="adapter", id=entry.adapter.name)
        check_base(note, entry.adapter.name, chat.entry.id, place)
        chat.engine.adapt(entry.adapter)

    @property
    def closed(self) -> bool:
        return self.chat.closed

    @property
    def context_tokens(self) -> int:
        return self.chat.context_tokens

    @property
    def takes_tools(self) -> bool:
        return self.chat.takes_tools

    @property
    def can_complete(self) -> bool:
        return self.chat.can_complete

    def prompt(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[Mapping[str, Any]] | None = None,
        settings: GenerationSettings | None = None,
        keep_all: bool = False,
    ) -> Prompt:
        """The model's own prompt."""
        return self.chat.prompt(messages, tools, settings, keep_all)

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_all: bool = False,
    ) -> Generator[Event, None, None]:
        """Events of one answer, written with the adapter."""
        return self.chat.stream(messages, self._with(settings), cancel, tools, keep_all)

    def complete(
        self, prompt: str | Sequence[int], settings: GenerationSettings, cancel: Cancel | None = None
    ) -> Generator[Event, None, None]:
        """Goes on with a raw prompt, with the adapter."""
        return self.chat.complete(prompt, self._with(settings), cancel)

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """
        Raises:
            UnsupportedContent: always; the model itself may.
        """
        raise UnsupportedContent(model=self.entry.id, content="texts for embedding", accepted="conversations")

    def memory(self) -> MemoryUse:
        return self.chat.memory()

    def close(self) -> None:
        """Nothing to free: the model's handle is shared."""

    def _with(self, settings: GenerationSettings) -> GenerationSettings:
        return replace(settings, adapter=self.entry.adapter)
