"""What to do when a model does not fit: refused before loading, or out of memory in the middle."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.engine import MemoryUse
from llm.errors import NotEnoughMemory, OutOfMemory, RanOut, TooBig
from llm.machine.allocation import is_out_of_memory
from llm.machine.hardware import Hardware, hardware
from llm.machine.heap import give_back
from llm.plan import LoadPlan
from llm.planning.engines import engine_of
from llm.planning.memory import Choice, estimate, fits

MIN_CONTEXT_TOKENS = 1024
_ROUNDING = {"float32": 0, "bfloat16": 1, "float16": 1, "int8": 2, "int4": 3, "file": 4}
"""How coarse each precision is: only coarser ones are proposed, and stored weights are not rounded again."""


def propose(
    entry: ModelEntry,
    plan: LoadPlan,
    path: Path | None = None,
    machine: Hardware | None = None,
    given_back_bytes: int = 0,
) -> Choice | None:
    """The nearest plan that fits: first the same precision with a shorter context, then a smaller precision.

    None: the model does not fit in any way.
    """
    machine = machine or hardware()
    for candidate in _smaller(entry, plan, path, machine):
        estimated = estimate(entry, candidate, path, machine)
        fit = fits(estimated, machine, given_back_bytes)
        if fit.ok:
            return Choice(candidate, estimated, fit)
    return None


def _smaller(entry: ModelEntry, plan: LoadPlan, path: Path | None, machine: Hardware) -> list[LoadPlan]:
    wanted = estimate(entry, plan, path, machine)
    engine = engine_of(entry)
    precisions = [wanted.precision]
    if wanted.device in engine.rounds_on:
        order = engine.precisions(entry, machine)
        precisions += [name for name in order if _ROUNDING[name] > _ROUNDING[wanted.precision]]
    contexts = [wanted.context_tokens]
    while engine.has_context and contexts[-1] > MIN_CONTEXT_TOKENS:
        contexts.append(max(MIN_CONTEXT_TOKENS, contexts[-1] // 2))
    # A context of half the length in the same precision costs less than rounding every weight; less is too short.
    pairs = [(precision, context) for precision in precisions for context in contexts[:2]]
    pairs += [(precisions[-1], context) for context in contexts[2:]]
    return [replace(plan, precision=precision, context_tokens=context) for precision, context in pairs]  # type: ignore[arg-type]


def out_of_memory(
    entry: ModelEntry,
    plan: LoadPlan,
    path: Path | None = None,
    machine: Hardware | None = None,
    given_back_bytes: int = 0,
) -> OutOfMemory:
    """The error to show for a model that ran out of memory, with the numbers and a way out.

    `NotEnoughMemory` names the nearest plan that fits, `TooBig` says that there is none. values: model, needed,
    free and fitting for people to read; needed_bytes, available_bytes, fitting_bytes, precision, context_tokens.
    """
    machine = machine or hardware()
    fit = fits(estimate(entry, plan, path, machine), machine, given_back_bytes)
    values: dict[str, Any] = {
        "model": entry.name,
        "needed": gigabytes(fit.needed_bytes),
        "free": gigabytes(fit.available_bytes),
        "needed_bytes": fit.needed_bytes,
        "available_bytes": fit.available_bytes,
    }
    way_out = propose(
        entry, _one_smaller(entry, plan, path, machine) if fit.ok else plan, path, machine, given_back_bytes
    )
    if way_out is None:
        return TooBig(**values)
    found = way_out.estimate
    return NotEnoughMemory(
        **values,
        precision=found.precision,
        context_tokens=found.context_tokens or "-",
        fitting=gigabytes(found.total_bytes),
        fitting_bytes=found.total_bytes,
    )


@contextlib.contextmanager
def explaining_memory(entry: ModelEntry, plan: LoadPlan, held: Callable[[], MemoryUse]) -> Iterator[None]:
    """`with explaining_memory(...)`: whatever an engine raises for want of memory becomes advice with the numbers.

    Args:
        plan: how the model was loaded.
        held: what it takes, on top of what is free.

    Raises:
        RanOut, TooBig: in the place of any engine's own error; the failed step's tensors are let go of.
    """
    try:
        yield
    except Exception as error:  # torch, llama.cpp, CTranslate2 and the OS each have kinds of their own
        if not is_out_of_memory(error) or isinstance(error, (NotEnoughMemory, RanOut, TooBig)):
            raise
        traceback.clear_frames(error.__traceback__)
        give_back()
        own = sum(held().by_device.values())
        found = out_of_memory(entry, plan, where(entry), given_back_bytes=own)
        if isinstance(found, NotEnoughMemory):
            found = RanOut(**found.values)
        raise found from error


def _one_smaller(entry: ModelEntry, plan: LoadPlan, path: Path | None, machine: Hardware) -> LoadPlan:
    """The next plan down: a model that ran out although it seemed to fit must not be told to try the same again."""
    smaller = _smaller(entry, plan, path, machine)
    return smaller[min(1, len(smaller) - 1)]


def gigabytes(size_bytes: int) -> str:
    """A size for a sentence: 0.4 GB, 12.0 GB (10^9 bytes, as disks and model pages count)."""
    return f"{size_bytes / 1e9:.1f} GB"
