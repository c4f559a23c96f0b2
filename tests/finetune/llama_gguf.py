"""A tiny Llama or Qwen2 checkpoint as llama.cpp reads it, so that both engines run the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy
from safetensors.numpy import load_file

_CONTROL, _NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL


def to_gguf(folder: Path, file: Path, kind: type[numpy.floating] = numpy.float32) -> Path:
    """Writes a checkpoint folder's weights and byte-level vocabulary as a .gguf; matrices as `kind`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = config["model_type"]
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config).get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if kind is numpy.float32 else gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, folder, config["vocab_size"])
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, value in load_file(folder / "model.safetensors").items():
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(own, numpy.ascontiguousarray(value.astype(kind if value.ndim > 1 else numpy.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, vocabulary: int) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"]: token for token in stored["added_tokens"]}
    texts = {index: text for text, index in stored["model"]["vocab"].items()}
    texts |= {index: token["content"] for index, token in added.items()}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in stored["model"]["merges"]]
    kinds = [_CONTROL if added.get(i, {}).get("special") else _NORMAL for i in range(vocabulary)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[index] for index in range(vocabulary)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    ids = {token["content"]: index for index, token in added.items()}
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))
