"""How fast a model will write here, from two measured speeds of the machine and the model's size.

Writing a token reads every weight once and multiplies by it once (Pope et al., arXiv:2211.05102), so that a
token takes the longer of reading and computing, and a little for each layer, in which threads wait for each
other. What a weight costs to compute depends on how it is stored; those costs are in float32 operations of
the self-test's matrix product, so that they carry over from one processor to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.runtime import footprint as fp
from llm.runtime.hardware import Hardware
from llm.runtime.memory import choices
from llm.runtime.self_test import Speed

PER_LAYER_S = 40e-6
# Float32 operations for which unpacking and multiplying one weight takes as long, by the name's beginning.
_OPERATIONS = {"F16": 12.0, "BF16": 12.0, "Q8": 6.0, "Q4_0": 6.0, "Q4_1": 9.0, "Q4_K": 9.0, "Q5": 12.0, "Q6": 12.0}
_USUAL_OPERATIONS = 9.0
_TRANSFORMERS_OPERATIONS = {"float32": 4.0, "bfloat16": 40.0, "int8": 40.0, "int4": 60.0}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most exact precision in which `entry` fits, and its speed."""

    entry: ModelEntry
    precision: str
    tokens_per_s: float
    needed_bytes: int


def predictions(
    entries: Iterable[ModelEntry],
    speed: Speed,
    machine: Hardware,
    where: Callable[[ModelEntry], Path | None] = lambda entry: None,
) -> list[Prediction]:
    """Every chat and vision model that fits the memory free now, the fastest first."""
    found = []
    for entry in entries:
        if entry.task not in ("chat", "vision") or not (entry.parameters or entry.size_bytes):
            continue
        fitting = [choice for choice in choices(entry, machine, where(entry)) if choice.fit.ok]
        if not fitting:
            continue
        timed = [(tokens_per_s(entry, choice.estimate.precision, speed), choice) for choice in fitting]
        rate, best = max(timed, key=lambda item: item[0])
        found.append(Prediction(entry, best.estimate.precision, rate, best.estimate.total_bytes))
    return sorted(found, key=lambda row: row.tokens_per_s, reverse=True)


def tokens_per_s(entry: ModelEntry, precision: str, speed: Speed) -> float:
    """Tokens a second of one answer near the beginning of a conversation, on the CPU."""
    parameters = entry.parameters or entry.size_bytes
    shape = entry.shape if entry.shape.layers else fp.guessed_shape(parameters)
    stored = entry.size_bytes or parameters * fp.INT4_BYTES
    weight_bytes = stored if precision == "file" else parameters * fp.BYTES_PER_VALUE[precision]
    if entry.engine == "llamacpp":
        name = entry.quantisation.upper()
        operations = next((cost for start, cost in _OPERATIONS.items() if name.startswith(start)), _USUAL_OPERATIONS)
    else:
        operations = _TRANSFORMERS_OPERATIONS.get(precision, _USUAL_OPERATIONS)
    reading_s = weight_bytes / speed.read_bytes_per_s
    computing_s = parameters * operations / speed.flops
    return 1 / (max(reading_s, computing_s) + shape.layers * PER_LAYER_S)
