"""Model files of chosen shapes with meaningless weights, written in the formats that the engines read."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# ggml type -> (number, values a block, bytes a block); https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
GGML = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144)}


@dataclass(frozen=True)
class Size:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int = 8192
    context: int = 4096

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


def write_gguf(path: Path, size: Size, kind: str) -> Path:
    """A Llama of this size in GGUF; matrices of `kind`, norms float32."""
    meta: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "shape",
        "llama.block_count": size.layers,
        "llama.context_length": size.context,
        "llama.embedding_length": size.hidden,
        "llama.feed_forward_length": size.intermediate,
        "llama.attention.head_count": size.heads,
        "llama.attention.head_count_kv": size.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": size.head_dim,
        "llama.vocab_size": size.vocab,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": _tokens(size.vocab),
        "tokenizer.ggml.token_type": [3 if i >= size.vocab - 2 else 1 for i in range(size.vocab)],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": size.vocab - 2,
        "tokenizer.ggml.eos_token_id": size.vocab - 1,
    }
    tensors = list(_tensors(size, kind))
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)))
        for key, value in meta.items():
            file.write(_text(key) + _value(value))
        offset = 0
        for name, shape, kind_of in tensors:
            number, _, _ = GGML[kind_of]
            file.write(_text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape))
            file.write(struct.pack("<IQ", number, offset))
            offset += -(-_bytes(shape, kind_of) // 32) * 32
        file.write(b"\0" * (-file.tell() % 32))
        for _, shape, kind_of in tensors:
            data = _weights(shape, kind_of)
            file.write(data + b"\0" * (-len(data) % 32))
    return path


def _tensors(size: Size, kind: str) -> list[tuple[str, tuple[int, ...], str]]:
    h, kv, ff = size.hidden, size.kv_heads * size.head_dim, size.intermediate
    found = [("token_embd.weight", (h, size.vocab), kind), ("output_norm.weight", (h,), "F32")]
    for i in range(size.layers):
        matrices = {"attn_q": (h, h), "attn_k": (h, kv), "attn_v": (h, kv), "attn_output": (h, h)}
        matrices |= {"ffn_gate": (h, ff), "ffn_up": (h, ff), "ffn_down": (ff, h)}
        found += [(f"blk.{i}.{name}.weight", shape, kind) for name, shape in matrices.items()]
        found += [(f"blk.{i}.{name}.weight", (h,), "F32") for name in ("attn_norm", "ffn_norm")]
    return found


def _bytes(shape: tuple[int, ...], kind: str) -> int:
    _, block, block_bytes = GGML[kind]
    return int(np.prod(shape)) // block * block_bytes


def _weights(shape: tuple[int, ...], kind: str) -> bytes:
    if kind in ("F32", "F16"):
        value = 1.0 if len(shape) == 1 else 0.01
        return np.full(int(np.prod(shape)), value, dtype=np.float32 if kind == "F32" else np.float16).tobytes()
    _, block, block_bytes = GGML[kind]
    one = np.float16(0.001).tobytes()
    one = (one + one if kind == "Q4_K" else one).ljust(block_bytes, b"\x11")
    return one * (int(np.prod(shape)) // block)


def _tokens(count: int) -> list[str]:
    # GPT-2's printable stand-ins for the 256 bytes come first, so that every text can be encoded.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]
    return [*letters, *(f"tok{i}" for i in range(count - 256))]


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def write_checkpoint(folder: Path, size: Size) -> Path:
    """A Qwen2 of this size as a Hugging Face checkpoint in bfloat16, with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=size.vocab,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=False,
        eos_token_id=0,
        bos_token_id=0,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        Qwen2ForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(before)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size.vocab)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="w0", unk_token="w1", chat_template=template
    ).save_pretrained(folder)
    return folder


GPTQ_GROUP = 128


def write_gptq(folder: Path, size: Size, bits: int) -> Path:
    """The same checkpoint with the linear layers of its blocks packed to few bits, as AutoGPTQ stores them."""
    import torch
    from safetensors.torch import load_file, save_file

    write_checkpoint(folder, size)
    generator = torch.Generator().manual_seed(0)
    packed = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            packed[name] = tensor.half()
            continue
        outputs, inputs = tensor.shape
        groups = inputs // GPTQ_GROUP
        layer = name.removesuffix("weight")
        for part, shape in (("qweight", (inputs * bits // 32, outputs)), ("qzeros", (groups, outputs * bits // 32))):
            packed[layer + part] = torch.randint(-(2**31), 2**31, shape, generator=generator).to(torch.int32)
        packed[layer + "scales"] = torch.full((groups, outputs), 1e-3, dtype=torch.float16)
        packed[layer + "g_idx"] = torch.arange(inputs, dtype=torch.int32) // GPTQ_GROUP
    save_file(packed, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": bits, "group_size": GPTQ_GROUP, "desc_act": False}
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    return folder


def write_clip(folder: Path, size: Size) -> Path:
    """A CLIP whose two encoders are of this size, with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    encoder = {
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
    }
    text = {**encoder, "vocab_size": size.vocab, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = CLIPConfig(text_config=text, vision_config={**encoder, "patch_size": 32}, projection_dim=512)
    CLIPModel(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[END]": 2, "a": 3, "picture": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=77
    ).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def write_whisper(folder: Path, size: Size, like: Path) -> Path:
    """A Whisper of this size in CTranslate2's layout; vocabulary, tokenizer and settings are `like`'s."""
    from ctranslate2.converters.transformers import WhisperLoader
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    vocabulary = (like / "vocabulary.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    config = WhisperConfig(
        d_model=size.hidden,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.intermediate,
        decoder_ffn_dim=size.intermediate,
        vocab_size=len(vocabulary),
    )
    spec = WhisperLoader().get_model_spec(WhisperForConditionalGeneration(config).eval())
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization="float16")
    folder.mkdir(parents=True)
    spec.save(str(folder))
    for name in ("tokenizer.json", "vocabulary.txt"):
        shutil.copyfile(like / name, folder / name)
    # Words are aligned by heads that the configuration names; CTranslate2 crashes where the model lacks them.
    settings = json.loads((like / "config.json").read_text()) | {"alignment_heads": [[size.layers - 1, 0]]}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder
