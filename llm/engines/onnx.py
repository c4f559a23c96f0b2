"""ONNX networks of one job on the CPU: arrays in, arrays out. What they mean is known to `llm.tasks`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.errors import CorruptModel, MissingPackage
from llm.plan import LoadPlan, LoadProgress


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> OnnxNetwork:
    """Loads an .onnx file.

    Raises:
        CorruptModel: it is none, or damaged.
    """
    progress("weights", 0, 1)
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(package="onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, (os.cpu_count() or 2) // 2)
    options.log_severity_level = 4
    # Its arena keeps the largest buffers of every shape that it has seen.
    options.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # classes of its own, which share no root but this one
        raise CorruptModel(path=str(path), detail=str(error)[:300]) from error
    progress("weights", 1, 1)
    return OnnxNetwork(session, path.stat().st_size)


class OnnxNetwork:
    """One network. Safe from many threads: a session's run keeps nothing."""

    def __init__(self, session: Any, size_bytes: int) -> None:
        self._session = session
        self._size_bytes = size_bytes

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(given.name for given in self._session.get_inputs())

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its maker wrote into the file, such as the names of its classes."""
        found: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Its outputs, in the file's order, for inputs by name."""
        outputs: list[np.ndarray] = self._session.run(None, inputs)
        return outputs

    def run_first(self, value: np.ndarray) -> list[np.ndarray]:
        """Its outputs for the only input that it has."""
        return self.run(**{self.input_names[0]: value})

    def memory(self) -> MemoryUse:
        """What the weights take; nothing once they are freed."""
        return MemoryUse({"cpu": self._size_bytes if self._session is not None else 0})

    def close(self) -> None:
        """Frees the weights."""
        self._session = None
