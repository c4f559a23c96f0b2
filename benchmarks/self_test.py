"""The self-test's predictions beside measurements, for the chat models that are on this machine.

Run by hand on a machine that does nothing else: `python -m benchmarks.self_test [tokens]`
"""

from __future__ import annotations

import sys
import time

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import installed, where
from llm.engine import GeneratedToken
from llm.engines.probes import probe
from llm.machine.speed import Speed
from llm.plan import LoadPlan
from llm.planning.speed import tokens_per_s
from llm.prompt import Piece, Prompt
from llm.settings import GenerationSettings


def measured(entry: ModelEntry, tokens: int) -> float:
    """Tokens a second of one answer through the llama.cpp engine, after a short prompt; the better of two."""
    from llm.engines.llamacpp import engine as llamacpp

    path = where(entry)
    if path is None:
        raise ValueError(f"{entry.id} is not there")
    engine = llamacpp.load(entry, path, LoadPlan("cpu", context_tokens=2048), lambda *_: None)
    rates = []
    for start in (300, 400):
        ids = tuple(range(start, start + 20))
        prompt = Prompt("", ids, tuple(Piece(i, "", "user") for i in ids), engine.context_tokens)
        settings = GenerationSettings(max_length=tokens, temperature=0)
        steps = engine.generate(prompt, settings, frozenset(), Cancel())
        times = [time.perf_counter() for step in steps if isinstance(step, GeneratedToken)]
        rates.append((len(times) - 1) / (times[-1] - times[0]))
    engine.close()
    return max(rates)


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    speed = Speed(**probe("self_test"))
    print(f"{speed.read_bytes_per_s / 1e9:.1f} GB/s, {speed.flops / 1e9:.0f} GFLOP/s, {speed.threads} threads")
    print(f"{'model':40} {'predicted':>9} {'measured':>9}")
    for entry in installed():
        if entry.engine == "llamacpp":
            predicted, real = tokens_per_s(entry, "file", speed, where(entry)), measured(entry, tokens)
            print(f"{entry.id:40} {predicted:9.1f} {real:9.1f} {predicted / real - 1:+.0%}", flush=True)


if __name__ == "__main__":
    main()
