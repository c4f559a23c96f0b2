"""Methods: what is trained beside or in a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from llm.finetune.errors import CannotTune
from llm.finetune.full import Full
from llm.finetune.lora import Lora
from llm.finetune.prefix import Prefix
from llm.finetune.settings import TrainSettings


class Learnt(Protocol):
    """What a method trains beside or in a network."""

    def parameters(self) -> dict[str, torch.nn.Parameter]: ...

    def train(self, training: bool) -> None:
        """Whether what comes next is for learning, with dropout."""

    def save(self, folder: Path, base: str) -> None:
        """Writes it into a checkpoint's folder. Raises: OSError."""

    def restore(self, folder: Path) -> None:
        """Takes up what `save` wrote."""


def method(model: Any, place: Path, settings: TrainSettings) -> Learnt:
    """What the settings' method trains of a network.

    Raises:
        CannotTune: the network is of a kind that it cannot train.
    """
    match settings.method:
        case "lora" | "qlora":
            return Lora(model, settings)
        case "prefix":
            return Prefix(model, settings)
        case "full":
            return Full(model, place)
        case other:
            raise CannotTune(model=type(model).__name__, detail=f"there is no method {other}")
