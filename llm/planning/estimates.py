"""What each engine takes for a model, in bytes; `llm.planning.memory` asks the right one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm.catalogue import footprint as fp
from llm.catalogue.entry import ModelEntry, Shape
from llm.config import config
from llm.machine.hardware import Hardware
from llm.plan import DeviceKind, LoadPlan
from llm.speech.options import BATCH_CPU, BATCH_CUDA

DEFAULT_CONTEXT_TOKENS = 8192
"""Context that the engines take when none is asked for, if the model has as much."""


CPU_RESERVE = 0.05
"""Share of the RAM that is left to the system."""


MPS_SHARE = 0.75
"""Share of an Apple machine's memory that Metal lets one process hold on its GPU."""


CUDA_CONTEXT_BYTES = 500 << 20
"""What CUDA itself takes on the GPU for one process."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a loaded model takes on `device` while it answers with its whole context in use.

    exact: from the model's own files; else from the catalogue's entry or, without a shape there, a rule of thumb.
    """

    weights_bytes: int
    kv_bytes: int
    activation_bytes: int
    device: DeviceKind
    precision: str
    context_tokens: int
    exact: bool = False

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """What an estimate is made for.

    known: the entry, with what its files say of size and shape where there are files at `path`. shape: its shape, or a
    guess by its size; exact False.
    """

    known: ModelEntry
    shape: Shape
    plan: LoadPlan
    device: DeviceKind
    machine: Hardware
    path: Path | None = None
    exact: bool = False


def llamacpp(subject: Subject) -> MemoryEstimate:
    """Weights as stored, a cache of 16 bits, and llama.cpp's own buffers."""
    known, plan = subject.known, subject.plan
    context = plan.context_tokens or min(known.context_tokens or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    # The engine shares one pool of twice the context between the answers that it writes at once.
    cells = context if config().parallel == 1 else 2 * context
    kv_bytes = cells * fp.kv_bytes_per_token(subject.shape)
    activations = fp.llamacpp_activations(subject.shape)
    return MemoryEstimate(known.size_bytes, kv_bytes, activations, subject.device, "file", context, subject.exact)


def whisper(subject: Subject) -> MemoryEstimate:
    """Weights as CTranslate2 holds them, and what a batch of windows takes."""
    known, device = subject.known, subject.device
    precision: str = subject.plan.precision
    if precision in ("auto", "file"):
        precision = "float16" if device == "cuda" else "int8"
    width = known.shape.hidden or fp.whisper_width(known.parameters or known.size_bytes // 2)
    windows = BATCH_CUDA if device == "cuda" else BATCH_CPU
    found = fp.whisper_footprint(known.size_bytes, width, precision, windows)
    return MemoryEstimate(
        found.weights_bytes, 0, found.activation_bytes, device, precision, 0, subject.path is not None
    )


def transformers(subject: Subject) -> MemoryEstimate:
    """Weights in the precision that the plan or the machine asks for, the cache, and one step's activations."""
    known, shape, plan, device = subject.known, subject.shape, subject.plan, subject.device
    parameters = known.parameters or known.size_bytes // 2
    precision: str = plan.precision
    if known.quantisation:
        precision = "file"
    elif precision in ("auto", "file"):
        precision = _auto_precision(parameters, device, subject.machine)
    context = plan.context_tokens or min(known.context_tokens or 2048, DEFAULT_CONTEXT_TOKENS)
    value_bytes = 4 if precision == "float32" else 2
    packed = precision == "file" and not known.size_bytes
    stored = ("int8" if "8" in known.quantisation else "int4") if packed else precision
    on_cpu = device == "cpu"
    weights = known.size_bytes if stored == "file" else fp.transformers_weights(parameters, shape, stored, on_cpu)
    activations = fp.transformers_activations(shape, value_bytes, context)
    return MemoryEstimate(
        weights,
        context * fp.kv_bytes_per_token(shape, value_bytes),
        activations,
        device,
        precision,
        context,
        subject.exact,
    )


def _auto_precision(parameters: int, device: DeviceKind, machine: Hardware) -> str:
    """The precision that the transformers engine takes by itself (`transformers.placement`), without torch."""
    free = available(device, machine) * 0.8
    if device != "cpu":
        return "bfloat16" if parameters * 2 <= free else "int8" if parameters <= free else "int4"
    if parameters < 100_000_000:
        return "float32"
    if {"avx512_bf16", "amx_tile"} & set(machine.instruction_sets):
        return "bfloat16" if parameters * 2 <= free else "int8" if parameters <= free else "int4"
    for precision, value_bytes in (("float32", 4), ("bfloat16", 2), ("int8", 1)):
        if parameters * value_bytes <= free:
            return precision
    return "int4"


def available(device: DeviceKind, machine: Hardware) -> int:
    """Bytes that a model may take on a device now, the system's share left out."""
    if device == "cuda":
        return max(0, machine.gpu_free_bytes - CUDA_CONTEXT_BYTES)
    free = machine.ram_free_bytes - int(machine.ram_total_bytes * CPU_RESERVE)
    if device == "mps":
        free = min(free, int(machine.ram_total_bytes * MPS_SHARE))
    return max(0, free)


def clip(subject: Subject) -> MemoryEstimate:
    """Both towers in float32, on the CPU."""
    known = subject.known
    found = fp.clip_footprint(known.parameters or known.size_bytes // 4, known.shape)
    exact = subject.path is not None
    return MemoryEstimate(found.weights_bytes, 0, found.activation_bytes, "cpu", "float32", 0, exact)


NETWORK_WORK_BYTES = 320 << 20
"""What one picture or window takes in a small network, the library's buffers included (U²-Net-P takes the most)."""


def network(subject: Subject) -> MemoryEstimate:
    """A network of one job in float32: the size of its file, or four bytes a parameter if that is more."""
    known = subject.known
    size = subject.path.stat().st_size if subject.path is not None and subject.path.is_file() else known.size_bytes
    weights = max(size, 4 * known.parameters)
    return MemoryEstimate(weights, 0, NETWORK_WORK_BYTES, subject.device, "float32", 0, subject.path is not None)
