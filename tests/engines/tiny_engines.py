"""Loading tiny checkpoints and asking them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import GeneratedToken, GenerationEnd, GenerationStep, Waiting
from llm.engines import transformers as engine_package
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.settings import GenerationSettings


def load(folder: Path, plan: LoadPlan | None = None):
    entry = ModelEntry(str(folder), folder.name, "chat", "template", "transformers", path=folder)
    return engine_package.load(entry, folder, plan or LoadPlan(device="cpu"), lambda stage, done, total: None)


def prompt_of(ids, **inputs) -> Prompt:
    return Prompt("", tuple(ids), (), 512, inputs=inputs)


GREEDY = GenerationSettings(temperature=0, max_length=24)


def steps(engine, ids, settings=GREEDY, stop_ids=frozenset(), cancel=None) -> list[GenerationStep]:
    found = engine.generate(prompt_of(ids), settings, frozenset(stop_ids), cancel or Cancel())
    return [step for step in found if not isinstance(step, Waiting)]


def answer(engine, ids, settings=GREEDY, **kwargs) -> list[int]:
    found = steps(engine, ids, settings, **kwargs)
    assert isinstance(found[-1], GenerationEnd)
    return [step.token.id for step in found[:-1] if isinstance(step, GeneratedToken)]


def at_once(*calls: Callable) -> list:
    """Runs the calls on threads of their own; their results, in order. The first error is raised."""
    results: list = [None] * len(calls)
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            results[index] = calls[index]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    if errors:
        raise errors[0]
    return results
