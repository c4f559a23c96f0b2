"""How fast a model will write here, from two measured speeds of the machine and the model's size.

Writing a token reads every weight once and multiplies by it once (Pope et al., arXiv:2211.05102), so that a
token takes the longer of reading and computing. To that come a fixed cost for each layer, in which threads wait
for each other (llama.cpp) or Python calls kernels (transformers), and one for choosing among the vocabulary.
What a weight costs to compute is told in float32 operations of the self-test's matrix product, so that it
carries over from one processor to another. The constants are those of a 2-core AVX2 machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llm.catalogue import footprint as fp
from llm.catalogue.entry import ModelEntry, Shape
from llm.catalogue.gguf import read_header
from llm.machine.hardware import Hardware
from llm.machine.speed import Speed
from llm.planning.engines import engine_of
from llm.planning.memory import choices

CHOICE_S = 20e-9
"""For each entry of the vocabulary."""


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
        if not entry.converses or not (entry.parameters or entry.size_bytes):
            continue
        fitting = [choice for choice in choices(entry, machine, where(entry)) if choice.fit.ok]
        if not fitting:
            continue
        path = where(entry)
        timed = [(tokens_per_s(entry, choice.estimate.precision, speed, path), choice) for choice in fitting]
        rate, best = max(timed, key=lambda item: item[0])
        found.append(Prediction(entry, best.estimate.precision, rate, best.estimate.total_bytes))
    return sorted(found, key=lambda row: row.tokens_per_s, reverse=True)


def tokens_per_s(entry: ModelEntry, precision: str, speed: Speed, path: Path | None = None) -> float:
    """Tokens a second of one answer near the beginning of a conversation, on the CPU.

    Args:
        path: the model's files where they are here; a GGUF's header says exactly what is read.
    """
    parameters = entry.parameters or entry.size_bytes
    shape = entry.shape if entry.shape.layers else fp.guessed_shape(parameters)
    weights, weight_bytes = _read_for_a_token(entry, shape, precision, path)
    cost = engine_of(entry).token_cost
    reading_s = weight_bytes / (speed.read_bytes_per_s * cost.reading)
    computing_s = weights * cost.operations[precision] / speed.flops
    return 1 / (max(reading_s, computing_s) + shape.layers * cost.layer_s + shape.vocab * CHOICE_S)


def _read_for_a_token(entry: ModelEntry, shape: Shape, precision: str, path: Path | None) -> tuple[int, int]:
    """Weights that a token is multiplied by, and their bytes: all but an embedding table that has one use only."""
    if path is not None and path.suffix.lower() == ".gguf":
        tensors = {tensor.name: tensor for tensor in read_header(path).tensors}
        if "output.weight" in tensors:
            tensors.pop("token_embd.weight", None)
        return sum(t.elements for t in tensors.values()), sum(t.size_bytes for t in tensors.values())
    parameters = entry.parameters or entry.size_bytes
    stored_bytes = entry.size_bytes or int(parameters * fp.CPU_INT4_BYTES)
    total_bytes = stored_bytes if precision == "file" else int(parameters * fp.BYTES_PER_VALUE[precision])
    tables = fp.split_parameters(parameters, shape)[1]
    weights = parameters - tables // 2 if tables > 1.5 * shape.vocab * shape.hidden else parameters
    return weights, total_bytes * weights // parameters
