"""What a model will need before it is loaded, whether that fits, and what to do where it doesn't.

`estimate` looks at the files where they are there (exact) and at the catalogue's entry where not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from llm.catalogue import ctranslate2_file
from llm.catalogue import footprint as fp
from llm.catalogue.checkpoint import entry_of_folder
from llm.catalogue.entry import ModelEntry, Shape
from llm.catalogue.gguf import read_header
from llm.catalogue.lookup import mmproj_of
from llm.machine.hardware import Hardware, hardware
from llm.plan import DeviceKind, LoadPlan
from llm.planning.engines import engine_of
from llm.planning.estimates import MemoryEstimate, Subject, available

Verdict: TypeAlias = Literal["fits", "fits_4bit", "too_big"]


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether an estimate fits: what is needed and what may be used, in bytes."""

    ok: bool
    needed_bytes: int
    available_bytes: int
    device: DeviceKind

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
    of_engine = engine_of(entry).estimate
    if of_engine is None:
        return MemoryEstimate(0, 0, 0, device, "file", 0)
    return of_engine(Subject(known, shape, plan, device, machine, path, exact))


def device_for(entry: ModelEntry, plan: LoadPlan, machine: Hardware) -> DeviceKind:
    """The device that `auto` stands for: what the engine's build can use of what is there."""
    engine = engine_of(entry)
    if plan.device == "auto" or engine.serves in ("captions", "task"):
        return engine.device(machine)
    return plan.device


def fits(estimated: MemoryEstimate, machine: Hardware, given_back_bytes: int = 0) -> Fit:
    """Whether it fits now; `given_back_bytes` is what unloading idle models would free."""
    may = available(estimated.device, machine) + given_back_bytes
    return Fit(estimated.total_bytes <= may, estimated.total_bytes, may, estimated.device)


def choices(
    entry: ModelEntry, machine: Hardware, path: Path | None = None, context_tokens: int = 0, given_back_bytes: int = 0
) -> list[Choice]:
    """Each precision in which the entry can be loaded, the most exact first, and whether it fits."""
    found = []
    for precision in engine_of(entry).precisions(entry, machine):
        plan = LoadPlan(precision=precision, context_tokens=context_tokens)
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
    if path is None or engine_of(entry).serves == "task":
        return entry
    if path.suffix.lower() == ".gguf":
        header = read_header(path)
        eyes = mmproj_of(entry, path)
        size = header.tensor_bytes + (read_header(eyes).tensor_bytes if eyes else 0)
        context = header.context_tokens or entry.context_tokens
        return replace(entry, size_bytes=size, shape=header.shape, context_tokens=context)
    found = entry_of_folder(path)
    shape = Shape(hidden=ctranslate2_file.whisper_width(path)) if engine_of(entry).serves == "speech" else found.shape
    return replace(
        entry,
        size_bytes=found.size_bytes,
        parameters=found.parameters or entry.parameters,
        shape=shape if shape.layers or shape.hidden else entry.shape,
        context_tokens=found.context_tokens or entry.context_tokens,
        quantisation=found.quantisation or entry.quantisation,
    )
