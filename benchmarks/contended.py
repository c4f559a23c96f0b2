"""Tokens a second beside a process that is always busy, and beside none; raw xllamacpp in the same minutes.

`python -m benchmarks.contended [rounds]`. Each figure is a process of its own, interleaved; medians and minima.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

TOKENS = 160
LONGEST_S = 30.0
STARTER = "smollm2-135m-instruct-q4_1"
WAYS = ("raw, one thread", "raw, all threads", "engine")


def raw(threads: int) -> float:
    """Tokens a second of xllamacpp alone."""
    import xllamacpp

    from llm.catalogue.lookup import find, where

    params = xllamacpp.CommonParams()
    params.model.path = str(where(find(STARTER)))
    params.n_ctx, params.verbosity = 2048, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    times: list[float] = []

    def take(chunk: object) -> bool:
        times.append(time.perf_counter())
        return times[-1] - begun > LONGEST_S

    begun = time.perf_counter()
    body = {"prompt": "Once upon a time", "n_predict": TOKENS, "stream": True, "ignore_eos": True, "temperature": 0}
    server.handle_completions(body, take)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def engine() -> float:
    """Tokens a second of Hearth's engine, two seconds after it was loaded."""
    import llm
    from llm.events import TextDelta

    model = llm.load(STARTER)
    time.sleep(2.5)
    times: list[float] = []
    # Without a seed: a repeatable answer is always written by the main server.
    settings = llm.GenerationSettings(max_length=TOKENS, temperature=0.8)
    for event in model.stream([llm.user("Tell me a long story.")], settings):
        if isinstance(event, TextDelta):
            times.append(time.perf_counter())
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def measured(way: str) -> float:
    command = [sys.executable, "-m", "benchmarks.contended", "--one", way]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[1]
    )
    return float(done.stdout.split()[-1]) if done.stdout.split() else 0.0


def main(rounds: int) -> None:
    print(f"{psutil.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
    for busy in (False, True):
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        with neighbour(busy):
            for _ in range(rounds):
                for way in WAYS:
                    found[way].append(measured(way))
        print("one process always busy beside it" if busy else "nothing else runs")
        for way, values in found.items():
            print(f"  {way:18} median {statistics.median(values):5.1f}  least {min(values):5.1f} tokens/s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        rate = engine() if sys.argv[2] == "engine" else raw(1 if "one" in sys.argv[2] else psutil.cpu_count() or 1)
        print(f"{rate:.1f}", flush=True)
        os._exit(0)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
