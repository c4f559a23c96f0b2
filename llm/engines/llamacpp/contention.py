"""Threads on a machine that others keep busy.

llama.cpp's threads wait for each other at every layer by spinning. Where another process holds a core, the thread that
was taken off it lets all others burn their time: two threads on two cores then write a third of what one writes
(docs/benchmarks.md). How many threads a server has is settled when it is made, so where others hold a core as an answer
begins, it is written by a second server of half as many threads. Its weights are the same mapped file; it is made when
it is first needed, and only where its cache surely fits.
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


def is_contended(others: tuple[float, ...]) -> bool:
    """Whether others held a core all the while.

    Args:
        others: cores that other processes kept busy, in each of the last samples.
    """
    return len(others) >= SAMPLES and min(others[-SAMPLES:]) >= HELD_CORES


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

    make_calm: makes it; None where there is no use for one. fits: whether there is memory for it now.
    """

    main: Any
    make_calm: Callable[[], Any] | None = None
    fits: Callable[[], bool] = lambda: True
    _calm: Any = None
    _made: threading.Lock = field(default_factory=threading.Lock)

    def now(self, repeatable: bool = False) -> Any:
        """The server that an answer which begins now is to be written by.

        Args:
            repeatable: the same request is to give the same answer, whose last digits depend on the number of threads.
        """
        if repeatable or self.make_calm is None or not is_contended(tuple(neighbours().samples)):
            return self.main
        with self._made:
            if self._calm is None and self.fits():
                try:
                    self._calm = self.make_calm()
                except (RuntimeError, MemoryError):
                    self.make_calm = None  # it will not be tried again
            return self._calm or self.main

    def close(self) -> None:
        """Lets go of both."""
        self.main = self._calm = self.make_calm = None
