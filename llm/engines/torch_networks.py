"""Networks of one job whose weights are a single torch file, built from our own code: arrays in, arrays out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.errors import MissingPackage, UnsupportedModel
from llm.plan import LoadPlan, LoadProgress

if TYPE_CHECKING:
    from torch import nn


def _efficientnet_lite0(path: Path) -> nn.Module:
    from llm.checkpoints.efficientnet_lite import load_efficientnet_lite0

    return load_efficientnet_lite0(path)


# See llm/engines/transformers/__init__.py: threads that spin take the time of those who share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

NETWORKS: Mapping[str, Callable[[Path], Any]] = {"efficientnet-lite0": _efficientnet_lite0}
"""By family: what builds the network from its file."""


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> TorchNetwork:
    """Loads a network's file.

    Raises:
        CorruptModel: it is damaged.
        UnsupportedModel: there is no such network here.
    """
    progress("weights", 0, 1)
    build = NETWORKS.get(entry.family)
    if build is None:
        raise UnsupportedModel(path=str(path), detail=f"no network here is called {entry.family!r}")
    try:
        network = TorchNetwork(build(path))
    except ImportError as error:
        raise MissingPackage(package="torch") from error
    progress("weights", 1, 1)
    return network


class TorchNetwork:
    """One network in float32 on the CPU; one forward at a time."""

    def __init__(self, network: nn.Module) -> None:
        self.network: nn.Module | None = network
        self._lock = threading.Lock()

    def run_first(self, value: np.ndarray) -> list[np.ndarray]:
        """Its output for its only input, as the one item of a list."""
        import torch

        assert self.network is not None
        with self._lock, torch.inference_mode():
            output: torch.Tensor = self.network(torch.from_numpy(np.ascontiguousarray(value)))
        return [output.numpy()]

    def memory(self) -> MemoryUse:
        """What the weights take; nothing once they are freed."""
        held = self.network.parameters() if self.network is not None else ()
        return MemoryUse({"cpu": sum(weight.numel() * weight.element_size() for weight in held)})

    def close(self) -> None:
        """Frees the weights."""
        self.network = None
