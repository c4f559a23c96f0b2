"""Baichuan and Baichuan2 checkpoints: published tensors under Llama's names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llm.checkpoints.baichuan_model import BaichuanAlibiForCausalLM, BaichuanForCausalLM, baichuan_config, unit_rows
from llm.checkpoints.loading import StoredTensor, build, read_json, split_rows, stored_tensors
from llm.errors import UnsupportedModel
from llm.families.baichuan import ASSISTANT_ID, USER_ID, BaichuanTokenizer

FIRST_VOCABULARY = 64000
"""Baichuan's vocabulary; Baichuan2's is larger, and its head is normalised."""


class BaichuanLoader:
    """See `llm.checkpoints.base.CheckpointLoader`."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        if "max_position_embeddings" not in config and "model_max_length" not in config:
            raise UnsupportedModel(path=folder / "config.json", detail="it names no longest prompt")
        # The sizes share a model_type; only the rotary one has this key.
        network = BaichuanForCausalLM if "max_position_embeddings" in config else BaichuanAlibiForCausalLM
        tensors = self.tensors(stored_tensors(folder), config, kwargs.get("dtype"))
        return build(network, baichuan_config(config), tensors, folder, **kwargs)

    def tensors(
        self, stored: Mapping[str, StoredTensor], config: Mapping[str, Any], dtype: Any = None
    ) -> dict[str, StoredTensor]:
        """The published tensors under Llama's names, queries, keys and values apart, the head normalised.

        dtype: what the model is wanted in; anything but a torch.dtype is as stored.
        """
        tensors: dict[str, StoredTensor] = {}
        for name, tensor in stored.items():
            module, packed, kind = name.partition("W_pack.")
            if packed:
                names = [f"{module}{letter}_proj.{kind}" for letter in "qkv"]
                tensors |= split_rows(tensor, names, [config["hidden_size"]] * 3)
            elif name == "lm_head.weight" and config["vocab_size"] != FIRST_VOCABULARY:
                wanted = dtype if isinstance(dtype, torch.dtype) else tensor.dtype
                tensors[name] = tensor.mapped(partial(unit_rows, dtype=wanted))
            elif not name.endswith("inv_freq"):
                tensors[name] = tensor
        return tensors

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> BaichuanTokenizer:
        generation = read_json(folder / "generation_config.json")
        longest = config.get("model_max_length") or config["max_position_embeddings"]
        return BaichuanTokenizer(
            folder / "tokenizer.model",
            generation.get("user_token_id", USER_ID),
            generation.get("assistant_token_id", ASSISTANT_ID),
            max(1, longest - (generation.get("max_new_tokens") or 0)),
        )


loader = BaichuanLoader()
