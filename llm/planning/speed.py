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
from llm.planning.memory import choices

LLAMACPP_LAYER_S = 125e-6
"""About 25 operations, between which threads wait for each other for 5 microseconds."""
TRANSFORMERS_LAYER_S = 1.35e-3
TRANSFORMERS_READING = 0.56
"""Share of the memory's bandwidth at which torch's products of one row read their matrix."""
CHOICE_S = 20e-9
"""For each entry of the vocabulary."""
# Float32 operations for which unpacking and multiplying one weight takes as long.
_OPERATIONS = 5.3
# bfloat16's are those of a processor that has no instructions for it; "file" is packed in 4 bits.
_TRANSFORMERS_OPERATIONS = {"float32": 2.0, "bfloat16": 23.0, "int8": 20.0, "int4": 25.0, "file": 25.0}


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
    if entry.engine == "llamacpp":
        operations, reading, layer_s = _OPERATIONS, 1.0, LLAMACPP_LAYER_S
    else:
        operations, reading, layer_s = _TRANSFORMERS_OPERATIONS[precision], TRANSFORMERS_READING, TRANSFORMERS_LAYER_S
    reading_s = weight_bytes / (speed.read_bytes_per_s * reading)
    computing_s = weights * operations / speed.flops
    return 1 / (max(reading_s, computing_s) + shape.layers * layer_s + shape.vocab * CHOICE_S)


def _read_for_a_token(entry: ModelEntry, shape: Shape, precision: str, path: Path | None) -> tuple[int, int]:
    """Weights that a token is multiplied by, and their bytes: all but an embedding table that has one use only."""
    if entry.engine == "llamacpp" and path is not None:
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
