"""One scenario of memory running out, in this process, which limits itself: run as a program.

Arguments: scenario, model, second model. Prints JSON: what happened, in the order in which it happened.
The limit is on the address space (`ulimit -v`), so that allocations fail where the machine still has memory.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

import llm
from llm.errors import ModelError
from llm.machine.limits import THREADS_BYTES
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.settings import GenerationSettings

MB = 10**6
PLAN = LoadPlan("cpu", "auto", 2048)


def address_space() -> int:
    return int(psutil.Process().memory_info().vms)


@contextlib.contextmanager
def only(more_bytes: int) -> Iterator[None]:
    """This process gets so many bytes more and then none."""
    set_limit(more_bytes)
    try:
        yield
    finally:
        lift()


def set_limit(more_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more_bytes, resource.RLIM_INFINITY))


def lift() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def told(error: ModelError) -> dict[str, Any]:
    return {"code": error.code, "sentence": str(error), **error.values}


def answer(model: Any, prompt_tokens: int = 8, tokens: int = 8) -> int:
    """How many tokens an answer has."""
    events = list(model.complete(ids(prompt_tokens), GenerationSettings(max_length=tokens, temperature=0)))
    return int(events[-1].usage.completion_tokens)


def ids(count: int) -> list[int]:
    return [300 + (place * 7919) % 3000 for place in range(count)]


def attempt(work: Any) -> dict[str, Any]:
    try:
        return {"done": work()}
    except ModelError as error:
        return told(error)


def while_loading(path: str, more_bytes: int) -> dict[str, Any]:
    """Somebody else takes the memory when the weights are about to be read; then gives it back."""
    llm.load(path, PLAN).close()  # libraries and their threads are there, as in a server that has run for a while
    for row in handles.loaded():
        handles.unload(row.key)
    gc.collect()
    before = psutil.Process().memory_info().rss

    def progress(stage: str, done: float, total: float) -> None:
        if stage == "weights" and not done:
            set_limit(more_bytes)

    first = attempt(lambda: bool(llm.load(path, PLAN, progress)))
    lift()
    gc.collect()
    kept = psutil.Process().memory_info().rss - before
    return {"first": first, "kept_bytes": kept, "loaded": len(handles.loaded()), "next": answer(llm.load(path, PLAN))}


def while_answering(path: str, more_bytes: int, prompt_tokens: int = 1500) -> dict[str, Any]:
    model: Any = llm.load(path, PLAN)
    answer(model)
    before = model.memory().total_bytes
    with only(more_bytes):
        first = attempt(lambda: answer(model, prompt_tokens))
    return {"first": first, "kept_bytes": model.memory().total_bytes - before, "next": answer(model)}


def two_models(path: str, second: str) -> dict[str, Any]:
    """The second does not fit beside the first: while that answers, and when it is idle."""
    model: Any = llm.load(path, PLAN)
    stream = model.complete(ids(8), GenerationSettings(max_length=64, temperature=0))
    next(stream)
    with only(THREADS_BYTES + 100 * MB):
        refused = attempt(lambda: bool(llm.load(second, PLAN)))
        rest = list(stream)[-1].usage.completion_tokens
        then = attempt(lambda: answer(llm.load(second, PLAN)))
        there = [row.entry.name for row in handles.loaded()]
    return {"refused": refused, "rest": rest, "then": then, "loaded": there}


def in_a_group(path: str, group: str) -> dict[str, Any]:
    """As in a container: past its limit the kernel ends the process, so that asking first is all that helps."""
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    first = attempt(lambda: bool(llm.load(path, LoadPlan("cpu", "auto", 8192))))
    advised = LoadPlan("cpu", "auto", int(first.get("context_tokens", 0)))
    return {"first": first, "next": attempt(lambda: answer(llm.load(path, advised)))}


SCENARIOS = {"group": in_a_group, "loading": while_loading, "answering": while_answering, "two": two_models}

if __name__ == "__main__":
    arguments = [int(word) if word.isdigit() else word for word in sys.argv[2:]]
    print(json.dumps(SCENARIOS[sys.argv[1]](*arguments)), flush=True)
