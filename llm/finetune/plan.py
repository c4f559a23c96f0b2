"""What a run will be before it starts: steps, tokens, memory in parts against what is free, and how long it takes.

Rows are read by the model's tokenizer alone. Memory is reckoned from the model's measures until two steps have been
tried (`llm.finetune.trial`), which then tell the peak and the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llm.catalogue.entry import ModelEntry, Shape
from llm.finetune import bases
from llm.finetune.data import Row
from llm.finetune.encode import Encoded, trainable
from llm.finetune.settings import TrainSettings
from llm.machine.hardware import hardware
from llm.planning.estimates import available

FEWEST_STEPS = 20
"""With fewer steps hardly anything is learnt."""
READ_ROWS = 400
"""So many rows are read for a plan; of a larger set the rest counts as like them."""
RUNTIME_BYTES = 450 << 20
"""A program with torch and transformers before it has a model; measured by `benchmarks.finetune_plan`."""
_PASS_TOKENS = {"cpu": 512, "cuda": 4096}
_WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.1, "int4": 0.6}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run's memory goes to, in bytes. evaluation: what a look takes beyond a step."""

    runtime: int = 0
    weights: int = 0
    trained: int = 0
    gradients: int = 0
    optimiser: int = 0
    activations: int = 0
    evaluation: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it starts.

    rows: trained ones; left: those that are left out, with the reason; seen: how often each row is trained. tokens,
    trained_tokens: of the whole run. parts: the memory, see `memory`; free_bytes: what may be taken now. seconds: None
    until it was tried.
    """

    rows: int
    left: tuple[Encoded, ...]
    steps: int
    seen: float
    tokens: int
    trained_tokens: int
    longest: int
    parts: Parts
    free_bytes: int
    seconds: float | None = None
    measured: bool = False

    @property
    def fits(self) -> bool:
        return self.parts.total <= self.free_bytes

    @property
    def few_steps(self) -> bool:
        return self.steps < FEWEST_STEPS

    def tried(self, result: Mapping[str, Any]) -> Plan:
        """The plan with what two steps have shown: the peak, and the rate."""
        if not result.get("tokens_per_s"):
            return self
        peak = int(result["peak_bytes"])
        others = self.parts.total - self.parts.activations
        parts = replace(self.parts, activations=max(0, peak - others))
        if peak < others:  # the estimate of the others was too high; they are scaled to the peak
            kept = {name: int(value * peak / others) for name, value in asdict(self.parts).items()}
            parts = Parts(**kept | {"activations": 0})
        return replace(self, parts=parts, seconds=self.tokens / result["tokens_per_s"], measured=True)

    def to_dict(self) -> dict[str, Any]:
        left = [{"row": one.number, "why": one.left} for one in self.left]
        whole = {"fits": self.fits, "needed_bytes": self.parts.total, "few_steps": self.few_steps}
        return asdict(replace(self, left=())) | {"left": left} | whole


def read_rows(entry: ModelEntry, rows: Sequence[Row], settings: TrainSettings) -> tuple[list[Encoded], list[Encoded]]:
    """The first rows as they are trained, and those of them that are left out.

    Raises:
        ModelNotThere, CorruptModel, UnsupportedModel: the model's tokenizer cannot be had.
    """
    with bases.reading(entry, bases.place_of(entry)) as chat:
        return trainable(chat, rows[:READ_ROWS], settings)


def plan(
    entry: ModelEntry, count: int, kept: Sequence[Encoded], left: Sequence[Encoded], settings: TrainSettings
) -> Plan:
    """The plan for `count` rows of which `kept` and `left` were read."""
    share = count / max(1, min(count, READ_ROWS))
    rows = round(len(kept) * share)
    steps = settings.max_steps or math.ceil(settings.epochs * rows / settings.step_rows)
    seen = steps * settings.step_rows / max(1, rows)
    lengths = [len(row.ids) for row in kept] or [0]
    return Plan(
        rows=rows,
        left=tuple(left),
        steps=steps,
        seen=seen,
        tokens=round(sum(lengths) * share * seen),
        trained_tokens=round(sum(row.trained_tokens for row in kept) * share * seen),
        longest=max(lengths),
        parts=memory(entry, kept, settings),
        free_bytes=available(bases.device(), hardware()),
    )


def memory(entry: ModelEntry, kept: Sequence[Encoded], settings: TrainSettings) -> Parts:
    """The peak in parts, reckoned from the model's measures.

    Activations: what backpropagation keeps of each layer (inputs of norms and matrices, queries, keys, values, gate
    and its product), and scores of the trained tokens of a pass three times: themselves, their softmax, its gradient.
    """
    device, shape = bases.device(), entry.shape
    precision = bases.precision(settings)
    size = _WEIGHT_BYTES.get(precision, 4.0)
    trained = trained_parameters(entry, settings)
    lengths = sorted((len(row.ids) for row in kept), reverse=True) or [0]
    together = sum(lengths[: settings.batch_rows])
    tokens = max(lengths[0], min(together, _PASS_TOKENS[device]))
    tokens *= 2 if settings.learn == "preferences" else 1  # both answers
    answers = sum(row.trained_tokens for row in kept) / max(1, sum(lengths))
    width = 4 if precision in ("float32", "int8") or device == "cpu" else 2
    heads, values = shape.heads * shape.head_dim, shape.intermediate
    layer = (4 * shape.hidden + 4 * heads + 4 * values) * width
    layers = shape.layers * (shape.hidden * width) + layer if settings.checkpointing else shape.layers * layer
    scores = int(3 * 4 * shape.vocab * max(1, tokens * answers))
    evaluation = settings.sample_tokens * 2 * shape.layers * shape.kv_heads * shape.head_dim * width
    return Parts(
        runtime=RUNTIME_BYTES if device == "cpu" else 0,
        weights=int(entry.parameters * size),
        trained=0 if settings.method == "full" else trained * 4,
        gradients=trained * 4,
        optimiser=trained * 8,
        activations=tokens * layers + scores,
        evaluation=evaluation if settings.samples else 0,
    )


def trained_parameters(entry: ModelEntry, settings: TrainSettings) -> int:
    """How many numbers are learnt."""
    shape = entry.shape
    match settings.method:
        case "full":
            return entry.parameters
        case "prefix":
            return settings.prefix_tokens * shape.layers * 2 * shape.kv_heads * shape.head_dim
    return settings.rank * shape.layers * sum(a + b for a, b in _matrices(shape, settings.targets))


def _matrices(shape: Shape, targets: str) -> list[tuple[int, int]]:
    """Inputs and outputs of a layer's matrices that get a LoRA."""
    hidden, values = shape.hidden, shape.kv_heads * shape.head_dim
    query = shape.heads * shape.head_dim
    if targets == "qv":
        return [(hidden, query), (hidden, values)]
    attention = [(hidden, query), (hidden, values), (hidden, values), (query, hidden)]
    return attention if targets == "attention" else [*attention, *[(hidden, shape.intermediate)] * 3]


def smaller(entry: ModelEntry, kept: Sequence[Encoded], settings: TrainSettings) -> TrainSettings | None:
    """The first change of settings that fits into what is free; None where none does. A step's rows stay as many."""
    free = available(bases.device(), hardware())
    return next((one for one in _smaller(settings) if memory(entry, kept, one).total <= free), None)


def _smaller(settings: TrainSettings) -> Iterator[TrainSettings]:
    lean = replace(settings, batch_rows=1, accumulation=settings.step_rows)
    yield lean
    lean = replace(lean, checkpointing=True)
    yield lean
    if settings.method == "full":
        lean = replace(lean, method="lora")
        yield lean
    if settings.method in ("full", "lora"):
        yield replace(lean, method="qlora", dora=False)
