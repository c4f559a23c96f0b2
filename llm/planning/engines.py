"""The engines as records: how each is loaded, what it takes, what it can, what everybody sees of it.

What is to be done for an engine is asked here; no other module looks at an engine's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from llm.catalogue.entry import ModelEntry
from llm.checkpoints.acceptance import check_checkpoint
from llm.engines.llamacpp.acceptance import check_gguf
from llm.machine.hardware import Hardware
from llm.machine.torch_build import torch_build
from llm.plan import DeviceKind, Precision
from llm.planning import estimates
from llm.planning.estimates import MemoryEstimate, Subject

Serves: TypeAlias = Literal["chat", "speech", "captions", "task", "vectors", "ranking"]


@dataclass(frozen=True, slots=True)
class TokenCost:
    """What a token takes beside reading the weights, measured on a 2-core AVX2 machine (docs/benchmarks.md).

    layer_s: a fixed cost for each layer, in which threads wait for each other or Python calls kernels. reading: share
    of the memory's bandwidth at which products of one row read their matrix. operations: float32 operations for which
    unpacking and multiplying one weight takes as long, by precision.
    """

    layer_s: float
    reading: float
    operations: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine.

    module: has `load(entry, path, plan, progress)`; imported when a model is loaded, so that no page pays for an engine
    that it doesn't use. serves: what everybody sees of its models, see `llm.runtime.protocols`. remote: the module's
    `load` gives the handle itself, and nothing is held here. device: what `auto` stands for. precisions: in which a
    model can be loaded, the most exact first; rounds_on: devices on which weights can be rounded to 8 and 4 bits.
    check: whether its library knows the model's architecture; raises UnsupportedModel. has_context: whether the plan's
    context tells what is held.
    """

    name: str
    module: str
    serves: Serves = "chat"
    remote: bool = False
    estimate: Callable[[Subject], MemoryEstimate] | None = None
    device: Callable[[Hardware], DeviceKind] = lambda machine: "cpu"
    precisions: Callable[[ModelEntry, Hardware], tuple[Precision, ...]] = lambda entry, machine: ("file",)
    rounds_on: frozenset[DeviceKind] = frozenset({"cpu", "cuda", "mps"})
    check: Callable[[ModelEntry, Path], None] | None = None
    has_context: bool = True
    token_cost: TokenCost = field(default_factory=lambda: TokenCost(0.0, 1.0, {}))


def engine_of(entry: ModelEntry) -> EngineSpec:
    """The engine that runs a model. CLIP's towers and heads of one job have their own, whatever reads their weights."""
    if entry.ranks_captions:
        return ENGINES["clip"]
    if entry.embeds_only and not entry.is_remote:
        return ENGINES["vectors" if entry.is_gguf else "encoders"]
    if entry.ranks_texts and not entry.is_remote:
        return ENGINES["rankers" if entry.is_gguf else "cross_encoders"]
    return ENGINES["heads" if entry.does_one_job and entry.engine == "transformers" else entry.engine]


def _transformers_device(machine: Hardware) -> DeviceKind:
    if machine.gpus and torch_build().cuda:
        return "cuda"
    return "mps" if machine.mps else "cpu"


def _small_network_device(machine: Hardware) -> DeviceKind:
    return "cuda" if machine.gpus and torch_build().cuda else "cpu"


def _transformers_precisions(entry: ModelEntry, machine: Hardware) -> tuple[Precision, ...]:
    return ("file",) if entry.quantisation else ("float32", "bfloat16", "int8", "int4")


def _whisper_precisions(entry: ModelEntry, machine: Hardware) -> tuple[Precision, ...]:
    return ("float16" if machine.gpus else "float32", "int8")


ENGINES: Mapping[str, EngineSpec] = {
    spec.name: spec
    for spec in (
        EngineSpec(
            "llamacpp",
            "llm.engines.llamacpp.engine",
            estimate=estimates.llamacpp,
            device=lambda machine: "mps" if machine.mps else "cpu",
            check=check_gguf,
            # About 25 operations a layer, between which threads wait for each other for 5 microseconds.
            token_cost=TokenCost(125e-6, 1.0, {"file": 5.3}),
        ),
        EngineSpec(
            "transformers",
            "llm.engines.transformers",
            estimate=estimates.transformers,
            device=_transformers_device,
            precisions=_transformers_precisions,
            rounds_on=frozenset({"cpu", "cuda"}),
            check=check_checkpoint,
            # bfloat16's are those of a processor that has no instructions for it; "file" is packed in 4 bits.
            token_cost=TokenCost(
                1.35e-3, 0.56, {"float32": 2.0, "bfloat16": 23.0, "int8": 20.0, "int4": 25.0, "file": 25.0}
            ),
        ),
        EngineSpec(
            "whisper",
            "llm.engines.whisper.engine",
            serves="speech",
            estimate=estimates.whisper,
            precisions=_whisper_precisions,
            has_context=False,
        ),
        EngineSpec(
            "clip",
            "llm.engines.clip",
            serves="captions",
            estimate=estimates.clip,
            precisions=lambda entry, machine: ("float32",),
            check=check_checkpoint,
            has_context=False,
        ),
        *(
            EngineSpec(
                name,
                module,
                serves="task",
                estimate=estimates.network,
                precisions=lambda entry, machine: ("float32",),
                has_context=False,
            )
            for name, module in (("onnx", "llm.engines.onnx"), ("torch", "llm.engines.torch_networks"))
        ),
        EngineSpec(
            "heads",
            "llm.engines.heads",
            serves="task",
            estimate=estimates.network,
            device=_small_network_device,
            precisions=lambda entry, machine: ("float32",),
            check=check_checkpoint,
            has_context=False,
        ),
        EngineSpec(
            "vectors",
            "llm.engines.llamacpp.embeddings",
            serves="vectors",
            estimate=estimates.network,
            check=check_gguf,
            has_context=False,
        ),
        EngineSpec(
            "rankers",
            "llm.engines.llamacpp.reranking",
            serves="ranking",
            estimate=estimates.network,
            check=check_gguf,
            has_context=False,
        ),
        EngineSpec(
            "encoders",
            "llm.engines.encoders",
            serves="vectors",
            estimate=estimates.network,
            device=_small_network_device,
            precisions=lambda entry, machine: ("float32",),
            check=check_checkpoint,
            has_context=False,
        ),
        EngineSpec(
            "cross_encoders",
            "llm.engines.cross_encoders",
            serves="ranking",
            estimate=estimates.network,
            device=_small_network_device,
            precisions=lambda entry, machine: ("float32",),
            check=check_checkpoint,
            has_context=False,
        ),
        EngineSpec("openai", "llm.remote.chat", remote=True),
        EngineSpec("reader", "llm.runtime.reader_model"),
    )
}
