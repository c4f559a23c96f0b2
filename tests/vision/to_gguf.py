"""Turns a Qwen2-VL checkpoint folder into what llama.cpp runs: a GGUF with the language model, an mmproj with the eyes.

Names and keys are those that llama.cpp reads: https://github.com/ggml-org/llama.cpp, `src/llama-arch.cpp` for the
language model and `tools/mtmd/clip-impl.h` for the vision tower.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy
from safetensors.numpy import load_file

_CONTROL, _NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_VISION_BLOCK = {"norm1": "ln1", "norm2": "ln2", "attn.proj": "attn_out", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
_VISION = {"merger.ln_q": "v.post_ln", "merger.mlp.0": "mm.0", "merger.mlp.2": "mm.2"}


def to_gguf(folder: Path, out: Path) -> tuple[Path, Path]:
    """Writes `<out>/<folder's name>.gguf` and `<out>/mmproj-<folder's name>.gguf`, in float32; returns both."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {name: value.astype(numpy.float32) for name, value in load_file(folder / "model.safetensors").items()}
    out.mkdir(parents=True, exist_ok=True)
    words, eyes = out / f"{folder.name}.gguf", out / f"mmproj-{folder.name}.gguf"
    _write_words(words, folder, config["text_config"], weights)
    _write_eyes(eyes, folder, config, weights)
    return words, eyes


def _write_words(path: Path, folder: Path, config: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    writer = gguf.GGUFWriter(path, "qwen2vl")
    heads = config["num_attention_heads"]
    rope = config["rope_parameters"]
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, folder, config)
    for name, value in weights.items():
        if (own := _name_of_words(name)) is not None:
            writer.add_tensor(own, value)
    _finish(writer)


def _name_of_words(name: str) -> str | None:
    part = name.removeprefix("model.")
    stem, _, kind = part.rpartition(".")
    if stem.startswith("layers."):
        _, layer, rest = stem.split(".", 2)
        return f"blk.{layer}.{_BLOCK[rest]}.{kind}"
    known = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    return f"{known[stem]}.{kind}" if stem in known else None


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: Mapping[str, Any]) -> None:
    """A byte-level BPE vocabulary as tokenizer.json has it; added tokens are control tokens."""
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"]: token["content"] for token in stored["added_tokens"]}
    texts = {**{index: text for text, index in stored["model"]["vocab"].items()}, **added}
    order = range(config["vocab_size"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in stored["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[index] for index in order])
    writer.add_token_types([_CONTROL if index in added else _NORMAL for index in order])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    writer.add_chat_template(template.read_text(encoding="utf-8"))


def _write_eyes(path: Path, folder: Path, config: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    vision = config["vision_config"]
    pictures = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "qwen2vl_merger")
    numbers = {
        "image_size": 8 * vision["patch_size"],  # only for warming up
        "patch_size": vision["patch_size"],
        "embedding_length": vision["embed_dim"],
        "feed_forward_length": int(vision["embed_dim"] * vision["mlp_ratio"]),
        "projection_dim": vision["hidden_size"],
        "attention.head_count": vision["num_heads"],
        "block_count": vision["depth"],
        "image_min_pixels": pictures["size"]["shortest_edge"],
        "image_max_pixels": pictures["size"]["longest_edge"],
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", pictures["image_mean"])
    writer.add_array("clip.vision.image_std", pictures["image_std"])
    for name, value in weights.items():
        if name.startswith("visual."):
            for own, part in _vision_tensors(name.removeprefix("visual."), value):
                writer.add_tensor(own, numpy.ascontiguousarray(part))
    _finish(writer)


def _vision_tensors(name: str, value: Any) -> list[tuple[str, Any]]:
    stem, _, kind = name.rpartition(".")
    if stem == "patch_embed.proj":  # a kernel for each of the two frames
        return [("v.patch_embd.weight", value[:, :, 0]), ("v.patch_embd.weight.1", value[:, :, 1])]
    if stem in _VISION:
        return [(f"{_VISION[stem]}.{kind}", value)]
    _, layer, rest = stem.split(".", 2)
    if rest == "attn.qkv":
        parts = numpy.split(value, 3)
        return [(f"v.blk.{layer}.attn_{letter}.{kind}", part) for letter, part in zip("qkv", parts, strict=True)]
    return [(f"v.blk.{layer}.{_VISION_BLOCK[rest]}.{kind}", value)]


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
