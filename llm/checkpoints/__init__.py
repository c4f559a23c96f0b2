"""Checkpoints that transformers does not know by itself: weight files, packed weights, networks.

Loaders are imported on first use, and telling layouts apart imports none: networks bring torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from llm.checkpoints.base import CheckpointLoader


def _is_baichuan(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "baichuan" or "BaichuanForCausalLM" in (config.get("architectures") or ())


def _is_chatglm(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "chatglm" and (
        "inner_hidden_size" in config or bool(config.get("position_encoding_2d"))
    )


def _is_chatglm2(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "chatglm" and "multi_query_group_num" in config


def _is_qwen(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "qwen"


def _is_gptq(config: Mapping[str, Any]) -> bool:
    quantization = config.get("quantization_config")
    return isinstance(quantization, Mapping) and quantization.get("quant_method") == "gptq"


# Module with a `loader` object -> whether config.json describes its layout; asked in this order.
LAYOUTS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "llm.checkpoints.baichuan": _is_baichuan,
    "llm.checkpoints.chatglm": _is_chatglm,
    "llm.checkpoints.chatglm2": _is_chatglm2,
    "llm.checkpoints.qwen": _is_qwen,
    "llm.checkpoints.gptq": _is_gptq,
}


def has_loader(config: Mapping[str, Any]) -> bool:
    """Whether `checkpoint_loader` has one for this config.json, without importing it."""
    return any(matches(config) for matches in LAYOUTS.values())


def checkpoint_loader(config: Mapping[str, Any]) -> CheckpointLoader | None:
    """The loader that takes a checkpoint with this config.json; None when transformers is to try."""
    for module, matches in LAYOUTS.items():
        if matches(config):
            loader: CheckpointLoader = import_module(module).loader
            return loader
    return None
