"""Small checkpoints in the layouts that older families were published in, with random weights."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

CORPUS = (
    "The quick brown fox jumps over the lazy dog. 今天天气很好，我们去公园玩。 1 2 3 4 5 6 7 8 9 0 ! ? : ; ( )\n"
) * 40


def write_shards(folder: Path, tensors: Tensors, form: str, shards: int = 2) -> None:
    """Weights as `pytorch_model*.bin` or `model*.safetensors`, sharded with an index or in one file."""
    stem, suffix = ("pytorch_model", "bin") if form == "bin" else ("model", "safetensors")
    names = sorted(tensors)
    parts = [names[place::shards] for place in range(shards)]
    where: dict[str, str] = {}
    for place, part in enumerate(parts):
        file = f"{stem}.{suffix}" if shards == 1 else f"{stem}-{place + 1:05d}-of-{shards:05d}.{suffix}"
        held = {name: tensors[name].contiguous() for name in part}
        if form == "bin":
            torch.save(held, folder / file)
        else:
            save_file(held, folder / file)
        where |= dict.fromkeys(part, file)
    if shards > 1:
        write_json(folder / f"{stem}.{suffix}.index.json", {"metadata": {}, "weight_map": where})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def sentencepiece(path: Path, size: int, **settings: Any) -> None:
    """A small byte-fallback vocabulary."""
    import sentencepiece as spm

    corpus = path.with_suffix(".txt")
    corpus.write_text(CORPUS, encoding="utf-8")
    defaults = {"model_type": "bpe", "byte_fallback": True, "character_coverage": 1.0, "minloglevel": 2}
    spm.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(path.with_suffix("")), vocab_size=size, **defaults | settings
    )
    corpus.unlink()


def _random(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> Tensors:
    generator = torch.Generator().manual_seed(7)
    return {name: (torch.randn(shape, generator=generator) * 0.1).to(dtype) for name, shape in shapes.items()}


def chatglm3(
    folder: Path, form: str = "bin", shards: int = 2, times: int = 1, layers: int = 2, **changes: Any
) -> Tensors:
    """ChatGLM3's layout; `chatglm2` as a name in config.json makes it ChatGLM2's."""
    hidden, heads, groups, size, inner, vocabulary = 32 * times, 4 * times, 2 * times, 8, 48 * times, 512 * times
    config = {
        "_name_or_path": "THUDM/chatglm3-6b", "model_type": "chatglm", "architectures": ["ChatGLMModel"],
        "add_bias_linear": False, "add_qkv_bias": True, "ffn_hidden_size": inner, "hidden_size": hidden,
        "kv_channels": size, "layernorm_epsilon": 1e-5, "multi_query_attention": True,
        "multi_query_group_num": groups, "num_attention_heads": heads, "num_layers": layers, "original_rope": True,
        "padded_vocab_size": vocabulary, "post_layer_norm": True, "rmsnorm": True, "seq_length": 256,
        "torch_dtype": "float16", "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.embedding.word_embeddings.weight": (vocabulary, hidden),
        "transformer.rotary_pos_emb.inv_freq": (2,),
        "transformer.encoder.final_layernorm.weight": (hidden,),
        "transformer.output_layer.weight": (vocabulary, hidden),
    }
    for layer in range(layers):
        prefix = f"transformer.encoder.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm.weight": (hidden,),
            f"{prefix}post_attention_layernorm.weight": (hidden,),
            f"{prefix}self_attention.query_key_value.weight": ((heads + 2 * groups) * size, hidden),
            f"{prefix}self_attention.query_key_value.bias": ((heads + 2 * groups) * size,),
            f"{prefix}self_attention.dense.weight": (hidden, heads * size),
            f"{prefix}mlp.dense_h_to_4h.weight": (2 * inner, hidden),
            f"{prefix}mlp.dense_4h_to_h.weight": (hidden, inner),
        }
    tensors = _random(shapes, torch.float16)
    write_json(folder / "config.json", config | changes)
    sentencepiece(folder / "tokenizer.model", 420)
    write_shards(folder, tensors, form, shards)
    return tensors


def chatglm(
    folder: Path, form: str = "bin", shards: int = 2, bits: int = 0, times: int = 1, layers: int = 2, **changes: Any
) -> Tensors:
    """ChatGLM-6B's layout; bits 4 or 8 packs the linear layers as the published -int4 and -int8 files do."""
    hidden, heads, vocabulary, size = 64 * times, 2 * times, 512 * times, 480
    sentencepiece(
        folder / "ice_text.model", size, normalization_rule_name="nmt_nfkc",
        user_defined_symbols=["<n>", "<|tab|>", *(f"<|blank_{count}|>" for count in range(2, 81))],
        control_symbols=["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"], pad_id=3,
    )  # fmt: skip
    from sentencepiece import SentencePieceProcessor

    ids = SentencePieceProcessor(model_file=str(folder / "ice_text.model")).piece_to_id
    config = {
        "model_type": "chatglm", "architectures": ["ChatGLMModel"], "bos_token_id": ids("<sop>"),
        "eos_token_id": ids("<eop>"), "mask_token_id": ids("[MASK]"), "gmask_token_id": ids("[gMASK]"),
        "pad_token_id": 3, "hidden_size": hidden, "inner_hidden_size": 4 * hidden, "layernorm_epsilon": 1e-5,
        "max_sequence_length": 256, "num_attention_heads": heads, "num_layers": layers,
        "position_encoding_2d": True, "torch_dtype": "float16", "vocab_size": vocabulary,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.word_embeddings.weight": (vocabulary, hidden),
        "transformer.final_layernorm.weight": (hidden,),
        "transformer.final_layernorm.bias": (hidden,),
    }
    linear = {"attention.query_key_value": (3 * hidden, hidden), "attention.dense": (hidden, hidden),
              "mlp.dense_h_to_4h": (4 * hidden, hidden), "mlp.dense_4h_to_h": (hidden, 4 * hidden)}  # fmt: skip
    for layer in range(layers):
        prefix = f"transformer.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{prefix}{norm}.{kind}": (hidden,) for kind in ("weight", "bias")}
        for name, shape in linear.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
    tensors = _random(shapes, torch.float16)
    tensors["lm_head.weight"] = tensors["transformer.word_embeddings.weight"].clone()
    stored = _packed_rows(tensors, tuple(linear), bits) if bits else tensors
    write_json(folder / "config.json", config | ({"quantization_bit": bits} if bits else {}) | changes)
    write_shards(folder, stored, form, shards)
    return stored


def _packed_rows(tensors: Tensors, names: tuple[str, ...], bits: int) -> Tensors:
    packed: Tensors = {}
    largest = 2 ** (bits - 1) - 1
    for name, tensor in tensors.items():
        if not name.endswith(tuple(f"{linear}.weight" for linear in names)):
            packed[name] = tensor
            continue
        scale = tensor.abs().amax(1) / largest
        values = (tensor / scale[:, None]).round().to(torch.int8)
        packed[name] = values if bits == 8 else values[:, ::2] << 4 | values[:, 1::2] & 15
        packed[name.replace("weight", "weight_scale")] = scale
    return packed


def qwen(
    folder: Path, form: str = "safetensors", shards: int = 2, times: int = 1, layers: int = 2, **changes: Any
) -> Tensors:
    """The first Qwen's layout, with the bytes and two merges as its vocabulary."""
    hidden, inner, vocabulary = 32 * times, 48 * times, 512 * times
    config = {
        "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "hidden_size": hidden,
        "intermediate_size": 2 * inner, "kv_channels": 16, "layer_norm_epsilon": 1e-6, "max_position_embeddings": 2048,
        "no_bias": True, "num_attention_heads": 2 * times, "num_hidden_layers": layers, "rotary_emb_base": 10000,
        "rotary_pct": 1.0, "seq_length": 64, "use_dynamic_ntk": True, "use_logn_attn": True,
        "vocab_size": vocabulary, "tie_word_embeddings": False,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocabulary, hidden),
        "transformer.ln_f.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for layer in range(layers):
        prefix = f"transformer.h.{layer}."
        shapes |= {
            f"{prefix}ln_1.weight": (hidden,), f"{prefix}ln_2.weight": (hidden,),
            f"{prefix}attn.c_attn.weight": (3 * hidden, hidden), f"{prefix}attn.c_attn.bias": (3 * hidden,),
            f"{prefix}attn.c_proj.weight": (hidden, hidden), f"{prefix}mlp.w1.weight": (inner, hidden),
            f"{prefix}mlp.w2.weight": (inner, hidden), f"{prefix}mlp.c_proj.weight": (hidden, inner),
        }  # fmt: skip
    tensors = _random(shapes, torch.bfloat16)
    write_json(folder / "config.json", config | changes)
    words = [bytes([byte]) for byte in range(256)] + [b"th", b"the"]
    lines = [base64.b64encode(word) + f" {rank}".encode() for rank, word in enumerate(words)]
    (folder / "qwen.tiktoken").write_bytes(b"\n".join(lines) + b"\n")
    write_shards(folder, tensors, form, shards)
    return tensors


def baichuan(
    folder: Path,
    form: str = "bin",
    shards: int = 1,
    alibi: bool = False,
    times: int = 1,
    layers: int = 2,
    **changes: Any,
) -> Tensors:
    """Baichuan2's layout: 7B's, or with `alibi` 13B's, which has six heads here."""
    heads, inner, vocabulary = (6 if alibi else 4) * times, 48 * times, 640 * times
    hidden = 8 * heads
    config = {
        "model_type": "baichuan", "architectures": ["BaichuanForCausalLM"], "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": inner, "model_max_length": 256, "num_attention_heads": heads,
        "num_hidden_layers": layers, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16", "vocab_size": vocabulary,
    }  # fmt: skip
    if not alibi:
        config["max_position_embeddings"] = 256
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}self_attn.W_pack.weight": (3 * hidden, hidden),
            f"{prefix}self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}mlp.gate_proj.weight": (inner, hidden), f"{prefix}mlp.up_proj.weight": (inner, hidden),
            f"{prefix}mlp.down_proj.weight": (hidden, inner), f"{prefix}input_layernorm.weight": (hidden,),
            f"{prefix}post_attention_layernorm.weight": (hidden,),
        }  # fmt: skip
    tensors = _random(shapes, torch.bfloat16)
    write_json(folder / "config.json", config | changes)
    write_json(
        folder / "generation_config.json", {"user_token_id": 195, "assistant_token_id": 196, "max_new_tokens": 64}
    )
    sentencepiece(
        folder / "tokenizer.model", 620, add_dummy_prefix=False, remove_extra_whitespaces=False,
        normalization_rule_name="identity", user_defined_symbols=[f"<reserved_{place}>" for place in range(200)],
    )  # fmt: skip
    write_shards(folder, tensors, form, shards)
    return tensors
