"""LoRA beside a model's large matrices (arXiv:2106.09685), with rsLoRA (2312.03732) and DoRA (2402.09353).

What is learnt is added to a layer's output by a hook, so that any layer can have one, however it keeps its weights; the
base is never touched. Matrix B begins as zeros: a fresh adapter changes nothing. Saved in peft's layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from llm.catalogue.adapters import SETTINGS, WEIGHTS
from llm.checkpoints.packed import PackedLinear
from llm.files import write_whole
from llm.finetune.errors import CannotTune
from llm.finetune.settings import TrainSettings

PEFT = "base_model.model."
TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "query_key_value", "dense", "qkv_proj"),
    "qv": ("q_proj", "v_proj", "query_key_value", "qkv_proj"),
}
_HEADS = ("lm_head", "output_layer", "embed_out")
_OTHERS = ("vis", "audio")
"""Towers that see or hear: what they say is not what is learnt."""


class LoraLayer(nn.Module):
    """One layer's matrices in float32: A (rank, in), B (out, rank), and DoRA's lengths (out,)."""

    def __init__(self, layer: Any, inputs: int, outputs: int, settings: TrainSettings, draw: torch.Generator) -> None:
        super().__init__()
        device = next(t.device for t in (*layer.parameters(), *layer.buffers()))
        bound = 1 / math.sqrt(inputs)  # kaiming_uniform with a = sqrt(5), as in peft
        a = (torch.rand(settings.rank, inputs, generator=draw) * 2 - 1) * bound
        self.a = nn.Parameter(a.to(device))
        self.b = nn.Parameter(torch.zeros(outputs, settings.rank, device=device))
        self.scaling, self.dropout = settings.scaling, settings.dropout
        self.magnitude: nn.Parameter | None = None
        if settings.dora:
            self.magnitude = nn.Parameter(torch.linalg.vector_norm(layer.weight.detach().float(), dim=1))

    def forward(self, layer: Any, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The layer's output with what was learnt."""
        x = functional.dropout(inputs.float(), self.dropout, self.training)
        product = functional.linear(functional.linear(x, self.a), self.b)
        if self.magnitude is None:
            return torch.add(output, product.to(output.dtype), alpha=self.scaling)
        product = self.scaling * product
        bias = 0 if getattr(layer, "bias", None) is None else layer.bias.float()
        with torch.no_grad():  # the paper's section 4.3: lengths of the sum count as constants
            lengths = torch.linalg.vector_norm(layer.weight.float() + self.scaling * (self.b @ self.a), dim=1)
        whole: torch.Tensor = self.magnitude / lengths * (output.float() - bias + product) + bias
        return whole.to(output.dtype)


class Lora:
    """A LoRA on a whole model.

    Raises:
        CannotTune: the model has none of the layers, or they cannot have DoRA.
    """

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        self.settings = settings
        self.layers: dict[str, LoraLayer] = {}
        draw = torch.Generator().manual_seed(settings.seed)
        for name, (layer, inputs, outputs) in _multiplying(model, settings.targets).items():
            if settings.dora and (not layer.weight.is_floating_point() or layer.weight.shape != (outputs, inputs)):
                raise CannotTune(model=type(model).__name__, detail="DoRA needs weights that are not in few bits")
            self.layers[name] = own = LoraLayer(layer, inputs, outputs, settings, draw)
            layer.register_forward_hook(_adding(own))
        if not self.layers:
            raise CannotTune(model=type(model).__name__, detail="it has no layers that can have a LoRA")

    def parameters(self) -> dict[str, nn.Parameter]:
        """By peft's names."""
        found = {}
        for name, layer in self.layers.items():
            found[f"{PEFT}{name}.lora_A.weight"] = layer.a
            found[f"{PEFT}{name}.lora_B.weight"] = layer.b
            if layer.magnitude is not None:
                found[f"{PEFT}{name}.lora_magnitude_vector"] = layer.magnitude
        return found

    def train(self, training: bool) -> None:
        """Whether what comes next is for learning, with dropout."""
        for layer in self.layers.values():
            layer.train(training)

    def save(self, folder: Path, base: str) -> None:
        """Raises: OSError."""
        from safetensors.torch import save_file

        tensors = {name: value.detach().cpu().contiguous() for name, value in self.parameters().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        own = self.settings
        values = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": own.rank,
            "lora_alpha": own.alpha,
            "lora_dropout": own.dropout,
            "use_rslora": own.rslora,
            "use_dora": own.dora,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "target_modules": sorted(self.layers),
        }
        write_whole(folder / SETTINGS, json.dumps(values, indent=1))

    def restore(self, folder: Path) -> None:
        """Takes up what `save` wrote."""
        from safetensors.torch import load_file

        kept = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, parameter in self.parameters().items():
                parameter.copy_(kept[name])


def _multiplying(model: Any, wanted: str) -> dict[str, tuple[Any, int, int]]:
    """Layers that multiply, with their (in, out), by name: all but the head, or those of the attention."""
    found = {}
    for name, layer in model.named_modules():
        inputs = getattr(layer, "in_features", None) or getattr(layer, "inputs", None)
        outputs = getattr(layer, "out_features", None) or getattr(layer, "outputs", None)
        if isinstance(layer, PackedLinear):
            inputs = layer.weight_of(torch.float32, slice(0, 1)).shape[1]
        if not isinstance(inputs, int) or not isinstance(outputs, int):
            continue
        if not name.endswith(_HEADS) and not any(other in name for other in _OTHERS):
            found[name] = (layer, inputs, outputs)
    chosen = {n: sizes for n, sizes in found.items() if wanted == "all" or n.rpartition(".")[2] in TARGETS[wanted]}
    return chosen or found


def _adding(own: LoraLayer) -> Any:
    def add(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = own(layer, inputs[0], output)
        return added

    return add
