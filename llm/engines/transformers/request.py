"""One answer being written: what was asked, how far it is, and the channel to whoever reads it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from llm.cancel import Cancel
from llm.engines.transformers.cache import CacheRow, RoomyCache
from llm.engines.transformers.grammar import Grammar
from llm.engines.transformers.sampling import Report, Sampler
from llm.events import FinishReason
from llm.settings import GenerationSettings

HEARTBEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class NewToken:
    id: int
    report: Report | None


@dataclass(frozen=True, slots=True)
class Ended:
    reason: FinishReason
    cached_tokens: int


Outcome: TypeAlias = NewToken | Ended | Exception


class Request:
    """What a reader asks of the scheduler. Made and read by the reader's thread, filled by the scheduler's.

    Args:
        ids: the prompt.
        inputs: what the model needs beside the ids (pixel values ...), by name of its `forward`.
        max_tokens: longest answer.
        stop_ids: tokens that end it; they are not part of it.
        grammar: what the answer is held to.
    """

    def __init__(
        self,
        ids: tuple[int, ...],
        inputs: Mapping[str, Any],
        settings: GenerationSettings,
        stop_ids: frozenset[int],
        max_tokens: int,
        cancel: Cancel,
        grammar: Grammar | None = None,
    ) -> None:
        self.ids = ids
        self.inputs = inputs
        self.settings = settings
        self.stop_ids = stop_ids
        self.max_tokens = max_tokens
        self.grammar = grammar
        self.ahead = 0
        """How many requests are waiting before this one; the scheduler keeps it current."""
        self._cancel = cancel
        self._abandoned = threading.Event()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    @property
    def adapter(self) -> tuple[Path, float] | None:
        """The adapter's folder and its strength; None: the model alone."""
        settings = self.settings
        return (settings.adapter, settings.strength) if settings.adapter and settings.strength else None

    @property
    def cancelled(self) -> bool:
        return self._cancel.is_set() or self._abandoned.is_set()

    def abandon(self) -> None:
        """Nobody reads any more."""
        self._abandoned.set()

    def put(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)

    def outcomes(self) -> Iterator[NewToken | Ended | None]:
        """Tokens and then the end; None after each `HEARTBEAT_S` without news. Raises what went wrong."""
        while True:
            try:
                outcome = self._outcomes.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
            if isinstance(outcome, Ended):
                return


@dataclass(slots=True, eq=False)
class Row:
    """A request in work. `ids` is the prompt and the answer so far; the cache holds the first `filled` of them."""

    request: Request
    sampler: Sampler
    ids: list[int]
    cache: RoomyCache | None = None
    filled: int = 0
    cached_tokens: int = 0
    position_delta: int = 0
    """What a picture adds to the positions of the tokens after it (multi-axis rotary positions)."""
    state: dict[str, Any] = field(default_factory=dict)
    """What the model's own generation loop carries from step to step."""

    @classmethod
    def of(cls, request: Request) -> Row:
        return cls(request, Sampler(request.settings, request.ids), list(request.ids))

    @property
    def prompt_left(self) -> int:
        return max(0, len(self.request.ids) - self.filled)

    @property
    def answer_tokens(self) -> int:
        return len(self.ids) - len(self.request.ids)

    def cache_row(self) -> CacheRow | None:
        return None if self.cache is None else CacheRow(self.cache, 0, self.filled)

    def take(self, token_id: int, report: Report | None) -> FinishReason | None:
        """Adds a token to the answer and tells the reader; the reason if that ends it."""
        if token_id in self.request.stop_ids:
            return "stop"
        self.ids.append(token_id)
        self.sampler.saw(token_id)
        self.request.put(NewToken(token_id, report))
        if self.request.grammar is not None and self.request.grammar.take(token_id):
            return "stop"
        return "length" if self.answer_tokens >= self.request.max_tokens else None
