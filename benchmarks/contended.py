"""Tokens a second beside a process that is always busy, and beside none; raw xllamacpp in the same minutes.

`python -m benchmarks.contended [rounds]`. Each figure is a process of its own, interleaved; medians and minima. Last
come answers in whose middle the machine gets busy: their rate from seven seconds after that on, when some 300 tokens
are written, beside raw xllamacpp with one thread at the same length; and the longest pause in them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil

TOKENS = 160
LONGEST_S = 30.0
STARTER = "smollm2-135m-instruct-q4_1"
WAYS = ("raw, one thread", "raw, all threads", "engine")
LONGER = "raw, one thread, longer answer"
IN_THE_MIDDLE = "engine, busy from its middle on"


def raw(threads: int, tokens: int = TOKENS, skipped: int = 0) -> float:
    """Tokens a second of xllamacpp alone, from the token after those skipped on."""
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
    body = {"prompt": "Once upon a time", "n_predict": tokens, "stream": True, "ignore_eos": True, "temperature": 0}
    server.handle_completions(body, take)
    return rate(times[skipped:])


def rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def engine() -> float:
    """Tokens a second of Hearth's engine, two seconds after it was loaded."""
    import llm
    from llm.events import TextDelta

    model = llm.load(STARTER)
    time.sleep(2.5)
    times: list[float] = []
    settings = llm.GenerationSettings(max_length=TOKENS, temperature=0.8)
    for event in model.stream([llm.user("Tell me a long story.")], settings):
        if isinstance(event, TextDelta):
            times.append(time.perf_counter())
    return rate(times)


def engine_in_the_middle() -> float:
    """Tokens a second of an answer that was begun on an idle machine, seven seconds after another process got busy."""
    import llm
    from llm.events import TextDelta

    model = llm.load(STARTER)
    time.sleep(2.5)
    times: list[float] = []
    settings = llm.GenerationSettings(max_length=1500, temperature=0.8, logit_bias={2: -100.0})  # 2 ends an answer
    answer = model.stream([llm.user("Tell me a long story.")], settings)
    began = time.perf_counter()
    while time.perf_counter() - began < 2:
        next(answer)
    with neighbour(busy=True):
        began = time.perf_counter()
        for event in answer:
            times += [time.perf_counter()] if isinstance(event, TextDelta) else []
            if time.perf_counter() - began > 14:
                break
    longest = max(after - before for before, after in pairwise(times))
    print(f"longest pause {longest:.1f} s", file=sys.stderr)
    return rate([at for at in times if at - began > 7])


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
    sys.stderr.write(done.stderr[-200:])
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
            _print(way, values)
    with neighbour(busy=True):
        _print(LONGER, [measured(LONGER) for _ in range(rounds)])
    _print(IN_THE_MIDDLE, [measured(IN_THE_MIDDLE) for _ in range(rounds)])


def _print(way: str, values: list[float]) -> None:
    print(f"  {way:32} median {statistics.median(values):5.1f}  least {min(values):5.1f} tokens/s")


def one(way: str) -> float:
    if way == IN_THE_MIDDLE:
        return engine_in_the_middle()
    if way == LONGER:
        return raw(1, tokens=800, skipped=330)
    return engine() if way == "engine" else raw(1 if "one" in way else psutil.cpu_count() or 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(f"{one(sys.argv[2]):.1f}", flush=True)
        os._exit(0)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
