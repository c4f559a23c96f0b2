"""ChatGLM2 and ChatGLM3 checkpoints, whose network is transformers' GLM.

The network is `modeling_chatglm.py` of either repository: RMSNorm, SwiGLU, grouped keys and values, and rotary
positions over the first half of each head in adjacent pairs, which is GLM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm.checkpoints.chatglm2_model import ChatGLM2ForCausalLM, glm_config
from llm.checkpoints.loading import StoredTensor, build, read_json, split_rows
from llm.checkpoints.prefix_files import PREFIX_TENSORS, base_folder, with_prefix
from llm.errors import UnsupportedModel
from llm.families.chatglm2 import ChatGLM2Tokenizer
from llm.families.chatglm3 import ChatGLM3Tokenizer
from llm.families.sentencepiece_spans import SentencePieceSpans

_NAMES = {
    "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "transformer.encoder.final_layernorm.weight": "model.norm.weight",
    "transformer.output_layer.weight": "lm_head.weight",
}


_LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(.+)\.(weight_scale|weight|bias)")


_LAYER_NAMES = {
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
    "self_attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.gate_up_proj",
    "mlp.dense_4h_to_h": "mlp.down_proj",
}


class ChatGLM2Loader:
    """See `llm.checkpoints.base.CheckpointLoader`; takes ChatGLM2 and ChatGLM3 folders."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        _check(folder, config)
        stored = with_prefix(folder, config, "transformer.embedding.word_embeddings.weight")
        return build(ChatGLM2ForCausalLM, glm_config(config), self.tensors(stored, config), folder, **kwargs)

    def tensors(self, stored: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, StoredTensor]:
        """The published tensors under GLM's names, queries, keys and values apart."""
        return dict(pair for name, tensor in stored.items() for pair in _renamed(name, tensor, config))

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> SentencePieceSpans:
        place = _vocabulary_folder(folder, config)
        return ChatGLM3Tokenizer(place) if is_chatglm3(folder, config) else ChatGLM2Tokenizer(place)


def _renamed(name: str, tensor: StoredTensor, config: Mapping[str, Any]) -> Iterator[tuple[str, StoredTensor]]:
    if name in _NAMES:
        yield _NAMES[name], tensor
        return
    if name.startswith(PREFIX_TENSORS):
        yield f"model.prefix_encoder.{name.removeprefix(PREFIX_TENSORS)}", tensor
        return
    match = _LAYER.fullmatch(name)
    if match is None:
        return  # the stored rotary frequencies follow from config.json
    layer, module, kind = match.groups()
    prefix = f"model.layers.{layer}"
    if module == "self_attention.query_key_value":
        head = config["kv_channels"]
        groups = config["multi_query_group_num"] if config.get("multi_query_attention") else None
        keys = head * (groups or config["num_attention_heads"])
        names = [f"{prefix}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
        yield from split_rows(tensor, names, [head * config["num_attention_heads"], keys, keys]).items()
    elif module in _LAYER_NAMES:
        yield f"{prefix}.{_LAYER_NAMES[module]}.{kind}", tensor


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses what the GLM classes would compute wrongly.

    Raises:
        UnsupportedModel: an unknown variant of the network.
    """
    expected = {
        "rmsnorm": True,
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "post_layer_norm": True,
        "apply_residual_connection_post_layernorm": False,
        "original_rope": True,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise UnsupportedModel(path=folder / "config.json", detail=f"{key} is {config[key]!r}")
    if not (_vocabulary_folder(folder, config) / "tokenizer.model").is_file():
        raise UnsupportedModel(path=folder, detail="its vocabulary is not a sentencepiece tokenizer.model")


def _vocabulary_folder(folder: Path, config: Mapping[str, Any]) -> Path:
    """Where the vocabulary lies: a folder that holds a prefix alone has the network's."""
    return folder if (folder / "tokenizer.model").is_file() else base_folder(folder, config) or folder


loader = ChatGLM2Loader()


def is_chatglm3(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a ChatGLM2-shaped folder is ChatGLM3. The two tell themselves apart only by name."""
    tokenizer = read_json(folder / "tokenizer_config.json")
    names = f"{config.get('_name_or_path', '')} {tokenizer.get('name_or_path', '')} {folder.name}".lower()
    if "chatglm3" in names or "chatglm2" in names or "codegeex2" in names:
        return "chatglm3" in names
    # A fine-tuned copy may have lost its name. Published files: 4.27.1 wrote ChatGLM2's, 4.30.2 ChatGLM3's.
    return "<|user|>" in str(tokenizer) or str(config.get("transformers_version", "")) >= "4.30"
