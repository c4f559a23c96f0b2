"""A model's own way of generating, one step at a time, so that several answers can take turns.

The steps are those of `GenerationMixin.generate` (transformers 5.23): the model prepares its inputs and its
cache class, and carries what it likes from step to step. Serves models with recurrent state, with inputs
beside the ids, or whose positions are their own affair.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from transformers.generation.configuration_utils import GenerationMode

from llm.engines.transformers.cache import CacheRow, RoomyCache
from llm.engines.transformers.request import Row


class OwnLoop:
    """Drives one model's own generation methods. Used by one thread.

    Args:
        model: any decoder-only `PreTrainedModel` with `GenerationMixin`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device: torch.device = model.get_input_embeddings().weight.device
        self._names = set(inspect.signature(model.forward).parameters)
        # Vision models keep the positions' shift of the prompt that they read last on themselves.
        self._shifted = [module for module in model.modules() if hasattr(module, "rope_deltas")]

    def prefill(self, row: Row, cache: RoomyCache | None = None) -> torch.Tensor:
        """Reads the whole prompt; logits after it, of shape (vocabulary,). `cache` None is the model's own."""
        ids = torch.tensor([row.ids], device=self.device)
        carried: dict[str, Any] = {name: self._placed(value) for name, value in row.request.inputs.items()}
        carried.update(attention_mask=torch.ones_like(ids), use_cache=True)
        if cache is not None:
            carried["past_key_values"] = cache
        else:
            config = copy.deepcopy(self.model.generation_config)
            config.cache_implementation = None
            longest = len(row.ids) + row.request.max_tokens
            self.model._prepare_cache_for_generation(config, carried, GenerationMode.GREEDY_SEARCH, 1, longest)
        self._restore({})
        if "position_ids" in self._names:
            carried["position_ids"] = self.model._prepare_position_ids_for_generation(ids, carried)
        if "logits_to_keep" in self._names:
            carried["logits_to_keep"] = 1
        inputs = self.model.prepare_inputs_for_generation(ids, is_first_iteration=True, **carried)
        outputs = self.model(**inputs, return_dict=True)
        self._carry(row, outputs, carried)
        row.filled = len(row.ids)
        return outputs.logits[0, -1].float()

    def step(self, row: Row) -> torch.Tensor:
        """Reads the answer's last token; logits for the next, of shape (vocabulary,)."""
        ids = torch.tensor([row.ids], device=self.device)
        self._restore(row.state)
        carried = row.state["carried"]
        inputs = self.model.prepare_inputs_for_generation(ids, next_sequence_length=1, **carried)
        outputs = self.model(**inputs, return_dict=True)
        self._carry(row, outputs, carried)
        row.filled = len(row.ids)
        return outputs.logits[0, -1].float()

    def position_delta(self) -> int:
        """What the prompt just read adds to the positions of the tokens after it."""
        deltas = [module.rope_deltas for module in self._shifted if module.rope_deltas is not None]
        return int(deltas[0].flatten()[0]) if deltas else 0

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.dtype if value.is_floating_point() else None)

    def _carry(self, row: Row, outputs: Any, carried: dict[str, Any]) -> None:
        row.state["carried"] = self.model._update_model_kwargs_for_generation(outputs, carried)
        row.state["rope_deltas"] = [module.rope_deltas for module in self._shifted]

    def _restore(self, state: dict[str, Any]) -> None:
        for module, deltas in zip(self._shifted, state.get("rope_deltas", [None] * len(self._shifted)), strict=True):
            module.rope_deltas = deltas


class OwnTurn:
    """One row in the model's own loop, with the interface of `decoder.Batch`."""

    def __init__(self, loop: OwnLoop, row: Row) -> None:
        self.rows = [row]
        self._loop = loop

    @property
    def held_bytes(self) -> int:
        tensors = [value for row in self.rows for value in _tensors(row.state.get("carried", {}))]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def cache_row(self, row: Row) -> CacheRow | None:
        return None

    def leave(self, row: Row) -> None:
        self.rows.remove(row)
        row.state.clear()

    def step(self) -> torch.Tensor:
        return self._loop.step(self.rows[0])[None]

    def advance(self) -> None:
        """Nothing to do: the model keeps its own count."""

    def roll_back(self) -> bool:
        """A model's own state cannot be put back."""
        return False


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    if hasattr(value, "layers"):
        return [tensor for layer in value.layers for tensor in _tensors(vars(layer))]
    return []
