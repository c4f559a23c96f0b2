"""LoRA adapters and prefixes beside one model's weights: one copy of the weights, the adapter chosen for each answer.

A LoRA's product is added to what a layer gives, by a hook: that works on whatever holds the layer's weights (plain, in
8 or 4 bits, GPTQ), and with no adapter at work nothing is added at all. With DoRA (arXiv:2402.09353) the sum's columns
are then brought to the learnt lengths. A prefix (P-Tuning v2) takes the place of the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from llm.catalogue.adapters import PREFIX, WEIGHTS, AdapterNote, lora_scaling, lora_settings
from llm.checkpoints import prefix
from llm.errors import AdapterRefused, CorruptModel

PEFT = "base_model.model."
"""What peft puts before the names of a model's modules."""
PROBE_TOLERANCE = 1e-3
"""How far probe logits in the same precision may be off, as a share of the largest."""
PROBE_LIKENESS = 0.9
"""How like those of training they must be where the weights have been rounded since (correlation)."""

Use: TypeAlias = tuple[Path, float]
"""An adapter's folder and its strength."""


@dataclass(frozen=True, slots=True)
class LoraPart:
    """What is added to one layer: x -> scaling * B(A(x)). a: (rank, in). b: (out, rank).

    lengths: DoRA's learnt lengths over those of the summed weights, (out,); None without.
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    lengths: torch.Tensor | None = None

    def added(self, inputs: torch.Tensor, output: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """What is to be added to a layer's output, in float32 as in training."""
        product = self.scaling * (inputs.to(self.a.dtype) @ self.a.T @ self.b.T)
        if self.lengths is None:
            return product
        plain = output.to(self.a.dtype) - (0 if bias is None else bias.to(self.a.dtype))
        return self.lengths * (plain + product) - plain


@dataclass(slots=True)
class Loaded:
    """An adapter in memory: parts of layers by name, or a prefix."""

    parts: Mapping[str, LoraPart] = field(default_factory=dict)
    prefix: nn.Module | None = None

    @property
    def held_bytes(self) -> int:
        tensors = [tensor for part in self.parts.values() for tensor in (part.a, part.b)]
        tensors += list(self.prefix.parameters()) if self.prefix is not None else []
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Adapters:
    """The adapters of one model. `load` may be called from any thread, `use` only from the one that runs the model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._layers: dict[str, nn.Module] = dict(model.named_modules())
        self._loaded: dict[Path, tuple[int, Loaded]] = {}
        self._hooked: set[str] = set()
        self._now: tuple[Loaded, float] | None = None
        self._own_prefix = self._prefix

    def has(self, folder: Path) -> bool:
        """Whether it is in memory as it is on disk."""
        known = self._loaded.get(folder)
        return known is not None and known[0] == _stamp(folder)

    def load(self, folder: Path) -> None:
        """Reads an adapter; each of its tensors must have its layer, of the right shape.

        Raises:
            AdapterRefused: it is for another network, or of a kind that cannot be used here.
            CorruptModel: a file is damaged.
        """
        stamp = _stamp(folder)
        read = self._read_prefix if (folder / PREFIX).is_file() else self._read_lora
        self._loaded[folder] = (stamp, read(folder))

    def forget(self, folder: Path) -> None:
        self._loaded.pop(folder, None)

    def close(self) -> None:
        """Lets go of the model and of everything beside it."""
        self.model, self._own_prefix, self._now = None, None, None
        self._layers, self._loaded = {}, {}

    def key(self, use: Use | None) -> Any:
        """What tells keys and values that were reckoned with this adapter from others; None: with none."""
        return (use, self._loaded[use[0]][0]) if use and use[1] else None

    @property
    def held_bytes(self) -> int:
        return sum(loaded.held_bytes for _, loaded in list(self._loaded.values()))

    def use(self, use: Use | None) -> None:
        """What comes next is answered with this adapter; None, or strength 0: by the model alone."""
        loaded = self._loaded[use[0]][1] if use and use[1] else None
        self._now = (loaded, use[1]) if loaded and use else None
        if loaded is not None:
            for name in loaded.parts.keys() - self._hooked:
                self._layers[name].register_forward_hook(self._hook(name))
                self._hooked.add(name)
        if (loaded is not None and loaded.prefix is not None) or self._prefix is not self._own_prefix:
            self._prefix = loaded.prefix if loaded is not None and loaded.prefix is not None else self._own_prefix

    @property
    def _prefix(self) -> Any:
        return getattr(prefix.network_of(self.model), "prefix_encoder", None)

    @_prefix.setter
    def _prefix(self, encoder: Any) -> None:
        prefix.give(self.model, encoder)

    def _hook(self, name: str) -> Callable[..., Any]:
        def add(layer: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            part = self._now[0].parts.get(name) if self._now else None
            if part is None or self._now is None:
                return None
            added = part.added(inputs[0], output, getattr(layer, "bias", None))
            return (output.to(added.dtype) + self._now[1] * added).to(output.dtype)

        return add

    def _read_lora(self, folder: Path) -> Loaded:
        settings = lora_settings(folder)
        tensors = _tensors(folder / WEIGHTS)
        refused = _cannot_express(settings)
        if refused:
            raise self._refusal(folder, refused)
        scaling = lora_scaling(settings)
        found: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            name, kind = _layer_of(key)
            if name not in self._layers or not kind:
                raise self._refusal(folder, f"there is no layer for its tensor {key}")
            found.setdefault(name, {})[kind] = tensor
        parts = {name: self._part(folder, name, kinds, scaling) for name, kinds in found.items()}
        if not parts:
            raise self._refusal(folder, "it holds no tensors")
        return Loaded(parts)

    def _part(self, folder: Path, name: str, kinds: Mapping[str, torch.Tensor], scaling: float) -> LoraPart:
        layer = self._layers[name]
        outputs, inputs = _shape(layer)
        a, b = kinds.get("a"), kinds.get("b")
        if a is None or b is None:
            raise self._refusal(folder, f"half of what {name} needs is missing")
        if b.shape[0] != outputs or a.shape[1] != (inputs or a.shape[1]) or b.shape[1] != a.shape[0]:
            sizes = f"{tuple(b.shape)} times {tuple(a.shape)}"
            raise self._refusal(folder, f"{name} has the shape {(outputs, inputs)}, and the adapter's is {sizes}")
        device = next((t.device for t in (*layer.parameters(), *layer.buffers())), torch.device("cpu"))
        a, b = a.to(device, torch.float32), b.to(device, torch.float32)
        if (magnitude := kinds.get("m")) is None:
            return LoraPart(a, b, scaling)
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, torch.Tensor) or not weight.is_floating_point() or weight.shape != (outputs, inputs):
            raise self._refusal(folder, "DoRA needs the weights as they are, not in 8 or 4 bits")
        with torch.no_grad():
            summed = weight.to(torch.float32) + scaling * (b @ a)
            lengths = magnitude.to(device, torch.float32) / torch.linalg.vector_norm(summed, dim=1)
        return LoraPart(a, b, scaling, lengths)

    def _read_prefix(self, folder: Path) -> Loaded:
        if prefix.network_of(self.model) is None:
            raise self._refusal(folder, "this network takes no prefix")
        tensors = {key.rpartition("prefix_encoder.")[2]: value for key, value in _tensors(folder / PREFIX).items()}
        if "embedding.weight" not in tensors:
            raise self._refusal(folder, "its prefix holds no embedding")
        projected = any(name.startswith("trans.") for name in tensors)
        encoder = prefix.encoder_for(self.model, tensors["embedding.weight"].shape[0], projected)
        try:
            encoder.load_state_dict(tensors)
        except RuntimeError as error:
            raise self._refusal(folder, "its prefix has other measures than the network") from error
        return Loaded(prefix=encoder.eval())

    def _refusal(self, folder: Path, detail: str) -> AdapterRefused:
        return AdapterRefused(adapter=folder.name, model=type(self.model).__name__, detail=detail)


@torch.inference_mode()
def check_probe(adapters: Adapters, folder: Path, note: AdapterNote | None) -> None:
    """Whether the model with its adapter says now what it said at the end of training; on the model's own thread.

    Raises:
        AdapterRefused: it does not.
    """
    if note is None or not note.probe_ids or not note.probe_logits:
        return
    model = adapters.model
    weight = model.get_input_embeddings().weight
    adapters.use((folder, 1.0))
    try:
        ids = torch.tensor([note.probe_ids], device=weight.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, -1, : len(note.probe_logits)].float().cpu()
    finally:
        adapters.use(None)
    wanted = torch.tensor(note.probe_logits)
    exact = note.precision == "float32" and _is_exact(model)
    if logits.shape != wanted.shape or not _alike(logits, wanted, exact):
        detail = "a test question is not answered as at the end of training; the adapter or the model was changed"
        raise AdapterRefused(adapter=folder.name, model=type(model).__name__, detail=detail)


def _alike(found: torch.Tensor, wanted: torch.Tensor, exact: bool) -> bool:
    if exact:
        return bool((found - wanted).abs().max() <= PROBE_TOLERANCE * max(1.0, float(wanted.abs().max())))
    return bool(torch.corrcoef(torch.stack([found, wanted]))[0, 1] >= PROBE_LIKENESS)


def _is_exact(model: Any) -> bool:
    """Whether all weights are in float32, as in training on a CPU."""
    return all(p.dtype == torch.float32 for p in (*model.parameters(), *model.buffers()) if p.dim() > 1)


def _layer_of(key: str) -> tuple[str, str]:
    """A tensor's layer by name, and which of its tensors it is: a, b, m (DoRA's lengths), or nothing known."""
    name = key.removeprefix(PEFT)
    for ending, kind in ((".lora_A.weight", "a"), (".lora_B.weight", "b"), (".lora_magnitude_vector", "m")):
        if name.endswith(ending):
            return name.removesuffix(ending), kind
    return name, ""


def _shape(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a layer that multiplies; 0 is unknown, and what layers of rounded weights do not tell."""
    return getattr(layer, "out_features", 0) or getattr(layer, "outputs", 0), getattr(layer, "in_features", 0)


def _cannot_express(settings: Mapping[str, Any]) -> str:
    """What an adapter has that cannot be used; empty when all can."""
    if settings.get("peft_type") != "LORA":
        return f"it is a {settings.get('peft_type')} adapter; LoRA adapters can be used"
    if settings.get("modules_to_save") or settings.get("trainable_token_indices"):
        return "it changes whole layers beside its LoRA; merge it into the model"
    if settings.get("rank_pattern") or settings.get("alpha_pattern") or settings.get("fan_in_fan_out"):
        return "its layers have ranks of their own"
    return "it trains biases" if settings.get("bias", "none") != "none" else ""


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CorruptModel(path=str(file), detail=str(error)) from error


def _stamp(folder: Path) -> int:
    return max((f.stat().st_mtime_ns for name in (WEIGHTS, PREFIX) if (f := folder / name).is_file()), default=0)
