"""Threads on a machine that others keep busy.

llama.cpp's threads wait for each other at every layer by spinning. Where another process holds a core, the thread that
was taken off it lets all others burn their time: two threads on two cores then write a third of what one writes
(docs/benchmarks.md). How many threads a server has is settled when it is made, so where others hold a core an answer is
written by a second server of half as many threads, also from its middle on, and by the first one again when they leave.
The second one's weights are the same mapped file; it is made when it is first needed, and only where its cache surely
fits.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from llm.config import config
from llm.machine.hardware import hardware

SAMPLE_S = 0.5
SAMPLES = 4
HELD_CORES = 0.75
"""A core that others hold in each of the last samples. A browser that draws an answer takes less."""
HELD_WHILE_SLOW = 0.45
"""What others held on average beside a slow answer: all its threads and a busy process share the cores evenly."""
QUIET_CORES = 0.4
PACE_S = 1.0
SLOW_SHARE = 0.6
"""An answer is slow at less than this share of the best second that its model has had."""
MOST_MOVES = 6
READ_AGAIN_TOKENS = 512
"""An answer goes back to more threads where they have no more than these to read first."""


def is_contended(others: tuple[float, ...], slow: bool = False) -> bool:
    """Whether others held a core all the while.

    Args:
        others: cores that other processes kept busy, in each of the last samples.
        slow: an answer is written meanwhile, and slower than before.
    """
    if len(others) < SAMPLES:
        return False
    last = others[-SAMPLES:]
    return sum(last) / SAMPLES >= HELD_WHILE_SLOW if slow else min(last) >= HELD_CORES


def is_quiet(others: tuple[float, ...]) -> bool:
    """Whether others left the cores alone all the while; takes what `is_contended` does."""
    return len(others) >= SAMPLES and max(others[-SAMPLES:]) < QUIET_CORES


@dataclass
class Neighbours:
    """How many cores other processes keep busy, sampled in the background. One a process; see `neighbours`."""

    samples: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def watch(self) -> None:
        """Samples for ever; run in a thread of its own. A sample costs some tens of microseconds."""
        process = psutil.Process()
        before = _busy_s(process)
        while True:
            time.sleep(SAMPLE_S)
            now = _busy_s(process)
            took = max(now[2] - before[2], 1e-3)
            self.samples.append(max(0.0, (now[0] - before[0]) - (now[1] - before[1])) / took)
            before = now


def _busy_s(process: psutil.Process) -> tuple[float, float, float]:
    """Processor seconds of the whole machine and of this process, and the clock."""
    whole, own = psutil.cpu_times(), process.cpu_times()
    idle = whole.idle + getattr(whole, "iowait", 0.0)  # Linux alone counts waiting for disks
    return sum(whole[:8]) - idle, own.user + own.system, time.monotonic()


_lock = threading.Lock()
_neighbours: Neighbours | None = None


def neighbours() -> Neighbours:
    """The one watch of this process, begun at the first call."""
    global _neighbours
    with _lock:
        if _neighbours is None:
            _neighbours = Neighbours()
            threading.Thread(target=_neighbours.watch, name="neighbours", daemon=True).start()
        return _neighbours


def calmer(params: Any, make: Callable[[Any], Any]) -> Callable[[], Any] | None:
    """What makes a server of half as many threads with the same parameters; None where that is no fewer, or chosen.

    Args:
        params: `xllamacpp.CommonParams` of the model's own server.
        make: `xllamacpp.Server`.
    """
    threads = hardware().usable_cores
    if config().threads or threads < 2 or sys.platform == "darwin":
        return None
    neighbours()

    def made() -> Any:
        before = params.cpuparams.n_threads, params.cpuparams_batch.n_threads
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads // 2
        try:
            return make(params)
        finally:
            params.cpuparams.n_threads, params.cpuparams_batch.n_threads = before

    return made


@dataclass
class Servers:
    """The server of a model, and the calmer one for contended times.

    make_calm: makes it; None where there is no use for one. fits: whether there is memory for it now. best_pace: most
    tokens in a second that the main server has written of one answer.
    """

    main: Any
    make_calm: Callable[[], Any] | None = None
    fits: Callable[[], bool] = lambda: True
    best_pace: int = 0
    _calm: Any = None
    _made: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Any:
        """The server that an answer which begins now is to be written by."""
        return self.calm() if self.make_calm and is_contended(tuple(neighbours().samples)) else self.main

    def calm(self) -> Any:
        """The calmer server, made if it was not there; the main one where it cannot be had."""
        with self._made:
            if self.has_calm() and self._calm is None and self.make_calm is not None:
                try:
                    self._calm = self.make_calm()
                except (RuntimeError, MemoryError):
                    self.make_calm = None  # it will not be tried again
            return self._calm or self.main

    def has_calm(self) -> bool:
        """Whether there is a calmer server, or memory for one."""
        return self._calm is not None or (self.make_calm is not None and self.fits())

    def replace(self, main: Any) -> None:
        """Another server takes the place of both for answers that begin from now on."""
        with self._made:
            self.main, self._calm = main, None

    def close(self) -> None:
        """Lets go of both."""
        self.main = self._calm = self.make_calm = None


class Pace:
    """How fast the tokens of an answer come. Times are seconds of one clock."""

    def __init__(self, best: int = 0) -> None:
        self.best = best
        """Most tokens in a second, in this answer and earlier ones."""
        self._times: deque[float] = deque()
        self._begun: float | None = None

    def token(self, at: float) -> None:
        self._begun = at if self._begun is None else self._begun
        self._times.append(at)
        self._forget(at)
        if at - self._begun >= PACE_S:
            self.best = max(self.best, len(self._times))

    def is_slow(self, at: float) -> bool:
        """Whether the last second brought much fewer than the best one."""
        self._forget(at)
        return self._begun is not None and at - self._begun >= PACE_S and len(self._times) <= SLOW_SHARE * self.best

    def _forget(self, at: float) -> None:
        while self._times and self._times[0] <= at - PACE_S:
            self._times.popleft()


class Writing:
    """One answer on its way between the servers of a model.

    movable: whether another server can go on with it. Where random numbers or a grammar have come a way, none can.
    """

    def __init__(self, servers: Servers, prompt_tokens: int, movable: bool) -> None:
        self.server = servers.now()
        self.text = ""
        self._servers, self._movable = servers, movable
        self._tokens, self._moves = prompt_tokens, 0
        self._read: dict[int, int] = {}
        """How many tokens each server has in its cache."""
        self._pace = Pace(servers.best_pace)

    def wrote(self, text: str, at: float) -> None:
        """The server wrote a token."""
        self.text += text
        self._tokens += 1
        self._pace.token(at)
        if self.server is self._servers.main:
            self._servers.best_pace = max(self._servers.best_pace, self._pace.best)

    def should_move(self, at: float) -> bool:
        """Whether another server should go on now: with fewer threads while others slow it, with all when they left."""
        if not self._movable or not self.text or self._moves >= MOST_MOVES:
            return False
        servers, others = self._servers, tuple(neighbours().samples)
        if self.server is servers.main:
            return self._pace.is_slow(at) and is_contended(others, slow=True) and servers.has_calm()
        return is_quiet(others) and self._tokens - self._read.get(id(servers.main), 0) <= READ_AGAIN_TOKENS

    def move(self) -> None:
        """The other server goes on. It is made only now, when this one no longer needs the cores."""
        self._read[id(self.server)] = self._tokens
        self.server = self._servers.calm() if self.server is self._servers.main else self._servers.main
        self._moves, self._pace = self._moves + 1, Pace(self._servers.best_pace)
