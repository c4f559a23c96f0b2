"""Tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL checkpoints in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.byte_level import byte_level_bpe

TAGS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TAGS.append("<|video_pad|>")
# The part of Qwen2-VL's published template that these conversations use.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "What is in the picture? A red square beside a blue circle.",
    "图片里有什么？一只猫。",
    "user assistant system",
]
KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_CLASSES = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}


def tiny_vlm(kind: str, folder: Path) -> Path:
    """Writes a random checkpoint of one of `KINDS`: config.json, safetensors, tokenizer and picture processor."""
    torch.manual_seed(7)
    tokenizer = _tokenizer()
    model = _model(kind, {tag: tokenizer.convert_tokens_to_ids(tag) for tag in TAGS}, len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    patch = 16 if kind == "qwen3_vl" else 14
    size = {"shortest_edge": 4 * patch * patch, "longest_edge": 64 * patch * patch}
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if kind == "qwen3_vl" else {}
    Qwen2VLImageProcessorPil(patch_size=patch, size=size, **mean).save_pretrained(folder)
    # As in the published files, which name no backend.
    file = folder / "preprocessor_config.json"
    values = json.loads(file.read_text()) | {"image_processor_type": "Qwen2VLImageProcessor"}
    file.write_text(json.dumps(values))
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = byte_level_bpe(CORPUS * 3, 330, TAGS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def _model(kind: str, ids: dict[str, int], vocabulary: int) -> Any:
    text: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "eos_token_id": ids["<|im_end|>"],
        "bos_token_id": None,
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision: dict[str, Any] = {"depth": 2, "num_heads": 4}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": 64}
    elif kind == "qwen2_5_vl":
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "fullatt_block_indexes": [1]}
        vision |= {"window_size": 56}
    else:
        text |= {"head_dim": 16}
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "patch_size": 16}
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    config = getattr(transformers, f"{_CLASSES[kind]}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    config.eos_token_id = ids["<|im_end|>"]
    model = getattr(transformers, f"{_CLASSES[kind]}ForConditionalGeneration")(config)
    # Random weights as small as usual would answer whatever they see with the same token.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    return model.eval()
