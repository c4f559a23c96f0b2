"""The one thread that runs a model, and how several answers share it.

Each round reads a stretch of one waiting prompt and then takes one step of every answer, so nobody waits for
somebody else's whole answer or whole prompt.
"""

from __future__ import annotations

import atexit
import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

import torch

from llm.engines.transformers.adapters import Adapters
from llm.engines.transformers.cache import RoomyCache
from llm.engines.transformers.decoder import Batch, Decoder
from llm.engines.transformers.native_generate import OwnLoop, OwnTurn
from llm.engines.transformers.prefix_cache import PrefixCache
from llm.engines.transformers.request import Ended, Request, Row
from llm.engines.transformers.sampling import Report
from llm.errors import Busy, ModelError, OutOfMemory
from llm.events import FinishReason
from llm.machine.allocation import is_out_of_memory

log = logging.getLogger(__name__)

# How long a stretch of a prompt may hold up others' next tokens, and a cancellation when there are no others.
SHARED_STRETCH_S = 0.3
ALONE_STRETCH_S = 0.5
STRETCH_TOKENS = (64, 4096)
# Padding that is always accepted, in tokens, so that short answers share one batch.
FREE_PADDING_TOKENS = 2048

Group: TypeAlias = Batch | OwnTurn


@dataclass(frozen=True, slots=True)
class Policy:
    """How answers share the model.

    own_loop: the model's own generation loop, one row at a time; else our caches.
    batch_rows: most rows in one forward pass; 1 gives each answer its turn.
    reason: why, for people to read.
    """

    own_loop: bool
    batch_rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """parallel: answers in work at once. queue: requests that may wait. prefix_bytes: for the prompt cache."""

    parallel: int
    queue: int
    prefix_bytes: int
    threads: int = 0
    """CPU threads of the inference thread; 0 leaves torch's choice."""


class Scheduler:
    """Runs requests on its own thread until closed.

    Args:
        name: the model's name, for errors.
        decoder, own_loop: what drives the model.
        adapters: those that answers may be written with.
        policy: how answers share it.
    """

    def __init__(
        self, name: str, decoder: Decoder, own_loop: OwnLoop, policy: Policy, limits: Limits, adapters: Adapters
    ) -> None:
        self._name = name
        self._decoder = decoder
        self._own_loop = own_loop
        self._adapters = adapters
        self.policy = policy
        self._limits = limits
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._errands: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._reading: deque[Row] = deque()
        self._groups: list[Group] = []
        self._prefixes = PrefixCache(limits.prefix_bytes)
        self._tokens_per_s = 500.0
        self._out_of_memory = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"hearth-{name}", daemon=True)
        self._thread.start()
        # A thread that is still computing when the interpreter goes takes the process down with an error.
        atexit.register(self.close)

    def submit(self, request: Request) -> None:
        """Queues a request.

        Raises:
            Busy: too many are waiting.
            ModelError: the model has been closed.
        """
        with self._changed:
            if self._closing:
                raise ModelError(detail=f"{self._name} was unloaded")
            if len(self._waiting) >= self._limits.queue:
                raise Busy(waiting=len(self._waiting))
            self._waiting.append(request)
            request.ahead = len(self._waiting) - 1 + len(self._reading)
            self._changed.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Does something with the model on its own thread, between two steps, and waits for it.

        Raises: whatever the work raises, or CancelledError when the model is closed meanwhile.
        """
        done: Future[None] = Future()
        with self._changed:
            if self._closing:
                raise ModelError(detail=f"{self._name} was unloaded")
            self._errands.append((work, done))
            self._changed.notify()
        done.result()

    def close(self) -> None:
        """Ends everybody's answer as cancelled, drops all caches and waits for the thread's end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()
        atexit.unregister(self.close)

    @property
    def held_bytes(self) -> int:
        """Bytes of all caches, the prompt cache included."""
        reading = sum(row.cache.held_bytes for row in list(self._reading) if row.cache is not None)
        return reading + sum(group.held_bytes for group in list(self._groups)) + self._prefixes.held_bytes

    def _run(self) -> None:
        if self._limits.threads:
            torch.set_num_threads(self._limits.threads)
        with torch.inference_mode():
            while self._wait():
                self._round()
        for request in [*self._waiting, *(row.request for row in self._rows)]:
            request.put(Ended("cancelled", 0))
        for _, done in self._errands:
            done.cancel()
        self._waiting.clear()
        self._reading.clear()
        self._groups.clear()
        self._prefixes.clear()
        del self._decoder, self._own_loop
        self._adapters.close()

    def _wait(self) -> bool:
        """Sleeps while there is nothing to do; False when it is time to end."""
        with self._changed:
            while not (self._closing or self._waiting or self._reading or self._groups or self._errands):
                self._changed.wait()
            return not self._closing

    @property
    def _rows(self) -> list[Row]:
        return [*self._reading, *(row for group in self._groups for row in group.rows)]

    def _round(self) -> None:
        while self._errands:
            work, done = self._errands.popleft()
            try:
                done.set_result(work())
            except Exception as error:  # it belongs to whoever waits for the work
                done.set_exception(error)
        self._admit()
        for row in [row for row in self._rows if row.request.cancelled]:
            self._end(row, "cancelled")
        if self._reading:
            self._read_on(self._reading[0])
        for group in list(self._groups):
            self._step(group)

    def _admit(self) -> None:
        with self._changed:
            for request in [request for request in self._waiting if request.cancelled]:
                self._waiting.remove(request)
                request.put(Ended("cancelled", 0))
            admitted: list[Request] = []
            while self._waiting and len(self._rows) + len(admitted) < self._limits.parallel:
                admitted.append(self._waiting.popleft())
            for place, request in enumerate(self._waiting):
                request.ahead = place + 1
        for request in admitted:
            self._reading.append(Row.of(request))

    def _read_on(self, row: Row) -> None:
        """Reads a stretch of the row's prompt; after the last one the row takes its place among the answers."""
        try:
            self._adapters.use(row.request.adapter)
            logits = self._read_stretch(row)
            if row.prompt_left:
                self._reading.rotate(-1)
                return
            self._out_of_memory = False
            if not self._take(row, *self._choose([row], logits[None])[0]):
                self._join(row)
                self._reading.remove(row)
        except Exception as error:  # whatever a model raises ends this answer and no other
            if is_out_of_memory(error) and not self._out_of_memory and row in self._reading:
                self._out_of_memory = True  # once more, with the prompt cache emptied
                self._free()
            else:
                self._failed([row], error)

    def _read_stretch(self, row: Row) -> torch.Tensor:
        if self.policy.own_loop:
            return self._own_loop.prefill(row)
        if row.request.inputs:
            row.cache = RoomyCache()
            logits = self._own_loop.prefill(row, row.cache)
            row.position_delta = self._own_loop.position_delta()
            row.state.clear()
            return logits
        if self._decoder.reads_whole(row):
            return self._decoder.prefill(row, row.prompt_left)
        if row.cache is None:
            row.cache, row.filled = self._prefixes.find(row.ids, self._adapters.key(row.request.adapter))
            row.cached_tokens = row.filled
        stretch_s = SHARED_STRETCH_S if len(self._rows) > 1 else ALONE_STRETCH_S
        low, high = STRETCH_TOKENS
        tokens = min(row.prompt_left, max(low, min(high, int(self._tokens_per_s * stretch_s))))
        began = time.perf_counter()
        logits = self._decoder.prefill(row, tokens)
        if tokens >= low:
            self._decoder.synchronize()
            speed = tokens / (time.perf_counter() - began)
            self._tokens_per_s += (speed - self._tokens_per_s) / 2
        return logits

    def _join(self, row: Row) -> None:
        if self.policy.own_loop:
            self._groups.append(OwnTurn(self._own_loop, row))
            return
        for group in self._groups:
            alike = group.rows[0].request.adapter == row.request.adapter
            if alike and isinstance(group, Batch) and len(group.rows) < self.policy.batch_rows and _fits(group, row):
                group.join(row)
                return
        group = Batch(self._decoder)
        group.join(row)
        self._groups.append(group)

    def _step(self, group: Group) -> None:
        try:
            self._adapters.use(group.rows[0].request.adapter)
            logits = group.step()
            chosen = self._choose(group.rows, logits)
            group.advance()
            self._out_of_memory = False
            for row, choice in zip(list(group.rows), chosen, strict=True):
                self._take(row, *choice)
        except Exception as error:  # whatever a model raises ends these answers and no others
            again = group.roll_back() and is_out_of_memory(error)
            if again and len(group.rows) > 1 and self._out_of_memory:
                self._failed([max(group.rows, key=lambda row: row.filled)], error)
            elif again and not self._out_of_memory:
                self._out_of_memory = True
                self._free()
            else:
                self._failed(list(group.rows), error)

    def _choose(self, rows: list[Row], logits: torch.Tensor) -> list[tuple[int, Report | None]]:
        """Next token and what there is to report of it, for logits of shape (rows, vocabulary)."""
        grammars = [(index, row.request.grammar) for index, row in enumerate(rows) if row.request.grammar is not None]
        scores = logits.clone() if grammars else logits  # what is reported is what the model thought
        for index, grammar in grammars:
            grammar.mask(scores[index])
        if all(row.sampler.is_plain_greedy for row in rows):
            chosen = scores.argmax(-1).tolist()
        else:
            chosen = torch.stack([row.sampler.choose(scores[index]) for index, row in enumerate(rows)]).tolist()
        return [(chosen[index], row.sampler.report(logits[index], chosen[index])) for index, row in enumerate(rows)]

    def _take(self, row: Row, token_id: int, report: Report | None) -> bool:
        """Gives the token to the row's reader; True if that ended the answer."""
        reason = row.take(token_id, report)
        if row.request.grammar is not None and row.request.grammar.error is not None:
            self._drop(row, keep=False)
            row.request.put(row.request.grammar.error)
            return True
        if reason is not None:
            self._end(row, reason)
        return reason is not None

    def _end(self, row: Row, reason: FinishReason) -> None:
        row.request.put(Ended(reason, row.cached_tokens))
        self._drop(row, keep=not row.request.inputs)

    def _drop(self, row: Row, keep: bool) -> None:
        """Lets a row go, its keys and values kept for the conversation's next turn if `keep`."""
        group = next((group for group in self._groups if row in group.rows), None)
        if keep and not self.policy.own_loop and not self._decoder.reads_whole(row):
            self._keep(row, group)
        if row in self._reading:
            self._reading.remove(row)
        if group is not None:
            group.leave(row)
            if not group.rows:
                self._groups.remove(group)

    def _keep(self, row: Row, group: Group | None) -> None:
        source = group.cache_row(row) if group is not None else row.cache_row()
        if source is None or not row.filled:
            return
        try:
            self._prefixes.keep(row.ids[: row.filled], source, self._adapters.key(row.request.adapter))
        except Exception as error:  # a cache is a luxury
            if not is_out_of_memory(error):
                raise
            self._prefixes.clear()

    def _failed(self, rows: list[Row], error: Exception) -> None:
        # Only words go to the readers: a traceback would keep the failed step's tensors alive.
        detail = f"{type(error).__name__}: {error}"
        no_memory = is_out_of_memory(error)
        if not no_memory:
            log.error("%s failed to answer", self._name, exc_info=error)
        error.__traceback__ = None
        for row in rows:
            self._drop(row, keep=False)
            row.request.put(OutOfMemory(model=self._name, detail=detail) if no_memory else ModelError(detail=detail))
        self._free()

    def _free(self) -> None:
        self._prefixes.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


def _fits(batch: Batch, row: Row) -> bool:
    """Whether the padding that the row brings stays below what the rows themselves hold."""
    held_tokens = sum(other.filled for other in batch.rows) + row.filled
    padding_tokens = (len(batch.rows) + 1) * max(batch.length, row.filled) - held_tokens
    return padding_tokens <= max(held_tokens, FREE_PADDING_TOKENS)
