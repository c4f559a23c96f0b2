"""The first Qwen's and Qwen-VL's checkpoints: published tensors under Qwen2's names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm.checkpoints.loading import StoredTensor, build, read_json, split_rows, stored_tensors
from llm.checkpoints.packed import build_packed, gptq_format, without_zero_biases
from llm.checkpoints.qwen_model import QwenForCausalLM, qwen_config
from llm.checkpoints.qwen_vl_model import QwenVLForCausalLM, qwen_vl_config
from llm.errors import UnsupportedModel
from llm.families import qwen_vl
from llm.families.qwen_tokenizer import QwenTokenizer

_NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}


_LAYER = re.compile(r"transformer\.h\.(\d+)\.(.+)\.(weight|bias|qweight|qzeros|scales|g_idx)")


_LAYER_NAMES = {
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.up_proj",
    "mlp.w2": "mlp.gate_proj",
    "mlp.c_proj": "mlp.down_proj",
}


class QwenLoader:
    """See `llm.checkpoints.base.CheckpointLoader`."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        check_config(folder, config)
        tensors = language_tensors(stored_tensors(folder))
        network, network_config = _network(config)
        quantization = config.get("quantization_config")
        if not quantization:
            return build(network, network_config, tensors, folder, **kwargs)
        bits, zero_offset = gptq_format(quantization, folder / "config.json")
        tensors = without_zero_biases(tensors)
        return build_packed(network, network_config, tensors, folder, bits=bits, zero_offset=zero_offset, **kwargs)

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> QwenTokenizer:
        generation = read_json(folder / "generation_config.json")
        settings = {
            "max_window_tokens": generation.get("max_window_size") or 6144,
            "chat_format": generation.get("chat_format", "chatml"),
        }
        if "visual" in config:
            return qwen_vl.load_tokenizer(folder, config, **settings)
        return QwenTokenizer(folder / "qwen.tiktoken", **settings)


def _network(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class and the configuration of the network that config.json describes."""
    if "visual" in config:
        return QwenVLForCausalLM, qwen_vl_config(config)
    return QwenForCausalLM, qwen_config(config)


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses what the Qwen2 classes would compute wrongly.

    Raises:
        UnsupportedModel: an unknown variant of the network.
    """
    for key, value in {"rotary_pct": 1.0, "no_bias": True, "scale_attn_weights": True}.items():
        if config.get(key, value) != value:
            raise UnsupportedModel(path=folder / "config.json", detail=f"{key} is {config[key]!r}")
    if not any(key in config for key in ("num_hidden_layers", "n_layer")):
        raise UnsupportedModel(path=folder / "config.json", detail="it names no number of layers")
    method = (config.get("quantization_config") or {}).get("quant_method", "gptq")
    if method != "gptq":
        raise UnsupportedModel(path=folder / "config.json", detail=f"its weights are packed by {method}")


def language_tensors(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The published tensors under Qwen2's names, queries, keys and values apart."""
    return dict(pair for name, tensor in stored.items() for pair in _renamed(name, tensor))


def _renamed(name: str, tensor: StoredTensor) -> Iterator[tuple[str, StoredTensor]]:
    if name in _NAMES:
        yield _NAMES[name], tensor
    elif name.startswith("transformer.visual."):
        yield name.replace("transformer.visual.", "visual.", 1), tensor
    match = _LAYER.fullmatch(name)
    if match is None:
        return  # the stored rotary frequencies follow from config.json
    layer, module, kind = match.groups()
    prefix = f"model.layers.{layer}"
    if module in _LAYER_NAMES:
        yield f"{prefix}.{_LAYER_NAMES[module]}.{kind}", tensor
    elif module == "attn.c_attn":
        names = [f"{prefix}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
        if kind == "g_idx":
            yield from ((name, tensor) for name in names)
        elif kind in ("qweight", "qzeros", "scales"):
            yield from ((name, tensor.mapped(_third(place))) for place, name in enumerate(names))
        else:
            yield from split_rows(tensor, names, [tensor.shape[0] // 3] * 3).items()


def _third(place: int) -> Any:
    """Takes the columns of queries (0), keys (1) or values (2); packed tensors have outputs as columns."""
    return lambda tensor: tensor.chunk(3, dim=1)[place].contiguous()


loader = QwenLoader()
