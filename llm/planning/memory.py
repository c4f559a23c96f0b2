"""What a model will need before it is loaded, whether that fits, and what to do where it doesn't.

`estimate` looks at the files where they are there (exact) and at the catalogue's entry where not.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from llm.catalogue import ctranslate2_file
from llm.catalogue import footprint as fp
from llm.catalogue.checkpoint import entry_of_folder
from llm.catalogue.entry import ModelEntry, Shape
from llm.catalogue.gguf import read_header
from llm.catalogue.lookup import mmproj_of
from llm.config import config
from llm.machine.hardware import Hardware, hardware
from llm.machine.torch_build import torch_build
from llm.plan import LoadPlan
from llm.speech.options import BATCH_CPU, BATCH_CUDA

Verdict: TypeAlias = Literal["fits", "fits_4bit", "too_big"]
Where: TypeAlias = Literal["cpu", "cuda", "mps"]

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
    device: Where
    precision: str
    context_tokens: int
    exact: bool = False

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether an estimate fits: what is needed and what may be used, in bytes."""

    ok: bool
    needed_bytes: int
    available_bytes: int
    device: Where

    @property
    def short_bytes(self) -> int:
        return max(0, self.needed_bytes - self.available_bytes)


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to load a model, and whether it fits."""

    plan: LoadPlan
    estimate: MemoryEstimate
    fit: Fit


def estimate(
    entry: ModelEntry, plan: LoadPlan | None = None, path: Path | None = None, machine: Hardware | None = None
) -> MemoryEstimate:
    """What loading `entry` with `plan` will take.

    Args:
        path: where the files are; None estimates from the entry alone.
        machine: the machine to plan for; None is this one, now.

    Raises:
        CorruptModel: the files at `path` cannot be read.
    """
    plan = plan or LoadPlan()
    machine = machine or hardware()
    device = device_for(entry, plan, machine)
    known = _measured_entry(entry, path)
    shape = known.shape if known.shape.layers else fp.guessed_shape(known.parameters or known.size_bytes)
    exact = path is not None and bool(known.shape.layers)
    if entry.engine == "llamacpp":
        return _llamacpp(known, shape, plan, device, exact)
    if entry.engine == "whisper":
        return _whisper(known, plan, path, device)
    if entry.ranks_captions:
        clip = fp.clip_footprint(known.parameters or known.size_bytes // 4, known.shape)
        return MemoryEstimate(clip.weights_bytes, 0, clip.activation_bytes, "cpu", "float32", 0, path is not None)
    return _transformers(known, shape, plan, device, exact, machine)


def _llamacpp(known: ModelEntry, shape: Shape, plan: LoadPlan, device: Where, exact: bool) -> MemoryEstimate:
    context = plan.context_tokens or min(known.context_tokens or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    # The engine shares one pool of twice the context between the answers that it writes at once.
    cells = context if config().parallel == 1 else 2 * context
    kv_bytes = cells * fp.kv_bytes_per_token(shape)
    return MemoryEstimate(known.size_bytes, kv_bytes, fp.llamacpp_activations(shape), device, "file", context, exact)


def _whisper(known: ModelEntry, plan: LoadPlan, path: Path | None, device: Where) -> MemoryEstimate:
    precision: str = plan.precision
    if precision in ("auto", "file"):
        precision = "float16" if device == "cuda" else "int8"
    width = known.shape.hidden or fp.whisper_width(known.parameters or known.size_bytes // 2)
    windows = BATCH_CUDA if device == "cuda" else BATCH_CPU
    found = fp.whisper_footprint(known.size_bytes, width, precision, windows)
    return MemoryEstimate(found.weights_bytes, 0, found.activation_bytes, device, precision, 0, path is not None)


def _transformers(
    known: ModelEntry, shape: Shape, plan: LoadPlan, device: Where, exact: bool, machine: Hardware
) -> MemoryEstimate:
    parameters = known.parameters or known.size_bytes // 2
    precision: str = plan.precision
    if known.quantisation:
        precision = "file"
    elif precision in ("auto", "file"):
        precision = _auto_precision(parameters, device, machine)
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
        exact,
    )


def _auto_precision(parameters: int, device: Where, machine: Hardware) -> str:
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


def device_for(entry: ModelEntry, plan: LoadPlan, machine: Hardware) -> Where:
    """The device that `auto` stands for: what the engine's build can use of what is there."""
    if entry.ranks_captions:
        return "cpu"
    if plan.device != "auto":
        return plan.device
    if entry.engine == "transformers":
        if machine.gpus and torch_build().cuda:
            return "cuda"
        return "mps" if machine.mps else "cpu"
    if entry.engine == "llamacpp" and machine.mps:
        return "mps"
    return "cpu"


def available(device: Where, machine: Hardware) -> int:
    """Bytes that a model may take on a device now, the system's share left out."""
    if device == "cuda":
        return max(0, machine.gpu_free_bytes - CUDA_CONTEXT_BYTES)
    free = machine.ram_free_bytes - int(machine.ram_total_bytes * CPU_RESERVE)
    if device == "mps":
        free = min(free, int(machine.ram_total_bytes * MPS_SHARE))
    return max(0, free)


def fits(estimated: MemoryEstimate, machine: Hardware, given_back_bytes: int = 0) -> Fit:
    """Whether it fits now; `given_back_bytes` is what unloading idle models would free."""
    may = available(estimated.device, machine) + given_back_bytes
    return Fit(estimated.total_bytes <= may, estimated.total_bytes, may, estimated.device)


def choices(
    entry: ModelEntry, machine: Hardware, path: Path | None = None, context_tokens: int = 0, given_back_bytes: int = 0
) -> list[Choice]:
    """Each precision in which the entry can be loaded, the most exact first, and whether it fits."""
    if entry.ranks_captions:
        precisions = ["float32"]
    elif entry.engine == "transformers" and not entry.quantisation:
        precisions = ["float32", "bfloat16", "int8", "int4"]
    elif entry.engine == "whisper":
        precisions = ["float16" if machine.gpus else "float32", "int8"]
    else:
        precisions = ["file"]
    found = []
    for precision in precisions:
        plan = LoadPlan(precision=precision, context_tokens=context_tokens)  # type: ignore[arg-type]
        estimated = estimate(entry, plan, path, machine)
        found.append(
            Choice(replace(plan, device=estimated.device), estimated, fits(estimated, machine, given_back_bytes))
        )
    return found


def verdict(found: list[Choice]) -> Verdict:
    """The three words of the catalogue's table: fits in 16 bits or as stored, only in 4 or 8 bits, or not at all."""
    if any(choice.fit.ok for choice in found if choice.plan.precision not in ("int8", "int4")):
        return "fits"
    return "fits_4bit" if any(choice.fit.ok for choice in found) else "too_big"


def _measured_entry(entry: ModelEntry, path: Path | None) -> ModelEntry:
    """The entry with what its files say of size and shape, where there are files."""
    if path is None:
        return entry
    if path.suffix.lower() == ".gguf":
        header = read_header(path)
        eyes = mmproj_of(entry, path)
        parts = [*_shards(path), *([eyes] if eyes else [])]
        size = sum(read_header(part).tensor_bytes for part in parts)
        context = header.context_tokens or entry.context_tokens
        return replace(entry, size_bytes=size, shape=header.shape, context_tokens=context)
    found = entry_of_folder(path)
    shape = Shape(hidden=ctranslate2_file.whisper_width(path)) if entry.engine == "whisper" else found.shape
    return replace(
        entry,
        size_bytes=found.size_bytes,
        parameters=found.parameters or entry.parameters,
        shape=shape if shape.layers or shape.hidden else entry.shape,
        context_tokens=found.context_tokens or entry.context_tokens,
        quantisation=found.quantisation or entry.quantisation,
    )


def _shards(path: Path) -> list[Path]:
    """The files of a GGUF split as `name-00001-of-00003.gguf`; the file itself when it is whole."""
    first = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", path.name)
    if not first:
        return [path]
    parts = sorted(path.parent.glob(f"{glob.escape(first[1])}-*-of-{first[2]}.gguf"))
    return parts or [path]
