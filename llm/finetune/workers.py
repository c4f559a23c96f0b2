"""One run on several GPUs or machines with Ray Train: each worker takes its share of every step's passes.

Gradients and losses are summed over all workers, so that the steps are those of one worker. The first worker alone
looks, writes checkpoints and tells what happens; the run's folder lies where it can write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from llm.errors import MissingPackage
from llm.jobs.child import Emitter

T = TypeVar("T")


def alone() -> bool:
    return not (distributed.is_available() and distributed.is_initialized())


def first() -> bool:
    """Whether this worker is the one that writes."""
    return alone() or distributed.get_rank() == 0


def mine(parts: Sequence[T]) -> Sequence[T]:
    """This worker's share."""
    return parts if alone() else parts[distributed.get_rank() :: distributed.get_world_size()]


def summed(value: float) -> float:
    """A number added up over all workers."""
    if alone():
        return value
    total = torch.tensor(value, dtype=torch.float64, device=_device())
    distributed.all_reduce(total)
    return float(total)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Adds gradients up over all workers."""
    if alone():
        return
    for parameter in parameters:
        if parameter.grad is None:  # no pass of this worker's in this step
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


class Silent(Emitter):
    """Of the workers that tell nothing."""

    def emit(self, event: str, **values: Any) -> None:
        return None


def spread(emitter: Emitter, workers: int) -> dict[str, Any]:
    """Runs a training on so many workers of the cluster that RAY_ADDRESS names, else of this machine.

    Raises:
        MissingPackage: Ray is not installed.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise MissingPackage(package="ray[train]", detail="for several workers") from error
    folder = str(emitter.folder)

    def work() -> None:
        train = import_module("llm.finetune.trainer").train  # by its name: that module imports this one
        train((Emitter if first() else Silent)(Path(folder)))

    on_gpu = torch.cuda.is_available()
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    scaling = ScalingConfig(num_workers=workers, use_gpu=on_gpu)
    kept = RunConfig(name="ray", storage_path=str(emitter.folder / "ray"))
    TorchTrainer(work, scaling_config=scaling, run_config=kept).fit()
    return {"workers": workers}
