"""P-Tuning v2 (arXiv:2110.07602): keys and values before every layer's own are learnt, and nothing else.

For ChatGLM-6B, ChatGLM2 and ChatGLM3, in the layout of their published scripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llm.catalogue.adapters import PREFIX
from llm.checkpoints import prefix
from llm.finetune.errors import CannotTune
from llm.finetune.settings import TrainSettings

PUBLISHED = "transformer.prefix_encoder."


class Prefix:
    """A prefix before a model, drawn at random as in the published scripts; one that the model had is replaced.

    Raises:
        CannotTune: the network takes none.
    """

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        if prefix.network_of(model) is None:
            detail = "ChatGLM-6B, ChatGLM2 and ChatGLM3 take a prefix; choose LoRA"
            raise CannotTune(model=type(model).__name__, detail=detail)
        torch.manual_seed(settings.seed)
        self.encoder = prefix.encoder_for(model, settings.prefix_tokens, settings.prefix_projection)
        prefix.give(model, self.encoder)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """By their published names."""
        return {PUBLISHED + name: parameter for name, parameter in self.encoder.named_parameters()}

    def train(self, training: bool) -> None:
        """Whether what comes next is for learning, with dropout."""
        self.encoder.train(training)

    def save(self, folder: Path, base: str) -> None:
        """Raises: OSError."""
        from safetensors.torch import save_file

        tensors = {name: value.detach().cpu().contiguous() for name, value in self.parameters().items()}
        save_file(tensors, folder / PREFIX, metadata={"format": "pt"})

    def restore(self, folder: Path) -> None:
        """Takes up what `save` wrote."""
        from safetensors.torch import load_file

        kept = load_file(folder / PREFIX)
        self.encoder.load_state_dict({name.removeprefix(PUBLISHED): value for name, value in kept.items()})
