"""All weights of a small model are learnt; a checkpoint is a model folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from llm.catalogue.json_file import read_config
from llm.checkpoints import has_loader
from llm.finetune.errors import CannotTune

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".index.json")
_OWN = ("config.json", "hearth.json", "state.json")


class Full:
    """
    Args:
        place: where the network came from; its vocabulary goes with it.

    Raises:
        CannotTune: its weights cannot be written as transformers would read them.
    """

    def __init__(self, model: Any, place: Path) -> None:
        packed = getattr(model, "hf_quantizer", None) is not None and not place.is_file()
        if packed or (place.is_dir() and has_loader(read_config(place))):
            raise CannotTune(model=type(model).__name__, detail="all its weights cannot be trained; choose LoRA")
        if place.is_file():  # a .gguf: its weights were unpacked and are numbers like any other
            model.hf_quantizer = None
            del model.config.quantization_config
        self.model, self.place = model.requires_grad_(True), place

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.model.named_parameters())

    def train(self, training: bool) -> None:
        """The network's own dropout is all that there is."""

    def save(self, folder: Path, base: str) -> None:
        """Raises: OSError."""
        self.model.save_pretrained(str(folder))
        if self.place.is_file():
            from transformers import AutoTokenizer

            AutoTokenizer.from_pretrained(self.place.parent, gguf_file=self.place.name).save_pretrained(str(folder))
            return
        for file in self.place.iterdir():
            if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name not in _OWN:
                shutil.copyfile(file, folder / file.name)

    def restore(self, folder: Path) -> None:
        """Nothing: a run that goes on loads the network from its checkpoint."""
