"""Writes a BERT checkpoint of `tests.tasks.text_models` as a .gguf: an embedder, or with a ranking head a reranker."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy
import torch
from safetensors.numpy import load_file

CLS, RANK = gguf.PoolingType.CLS, gguf.PoolingType.RANK


def to_gguf(folder: Path, file: Path, pooling: gguf.PoolingType, head: tuple[torch.Tensor, ...] = ()) -> Path:
    """Writes a `BertModel` folder. head: dense weight and bias, output weight and bias, of a ranking head."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    kinds = [gguf.TokenType.CONTROL if word[0] == "[" and len(word) > 1 else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    # llama.cpp marks the beginning of a word where WordPiece marks its continuation.
    writer.add_token_list([w if k == gguf.TokenType.CONTROL else "▁" + w for w, k in zip(words, kinds, strict=True)])
    writer.add_token_types(kinds)
    writer.add_token_type_count(config["type_vocab_size"])
    for name, word in (("bos", "[CLS]"), ("eos", "[SEP]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("unk", "[UNK]")):
        getattr(writer, f"add_{name}_token_id")(words.index(word))
    writer.add_add_bos_token(True)  # [CLS] question [SEP] text [SEP]
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    tensors = {name: value for name, value in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    for name, value in tensors.items():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(own, numpy.ascontiguousarray(value.astype(numpy.float32)))
    for own, part in zip(("cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias"), head, strict=False):
        writer.add_tensor(own, part.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
