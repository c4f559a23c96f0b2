"""Tiny random checkpoints of other lines that see: SmolVLM, LLaVA, Gemma 3, InternVL and GLM-4.1V."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from tests.byte_level import byte_level_bpe
from tests.vision.tiny_vlm import CORPUS

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
EYES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
END = "<|end|>"


def _template(tag: str, lists_only: bool = False) -> str:
    """Turns with a picture's tag where it stands; `lists_only` as SmolVLM's, which takes no plain strings."""
    parts = (
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        f"{tag}{{% elif part['type'] == 'text' %}}{{{{ part['text'] }}}}{{% endif %}}{{% endfor %}}"
    )
    said = (
        parts
        if lists_only
        else f"{{% if message['content'] is string %}}{{{{ message['content'] }}}}{{% else %}}{parts}{{% endif %}}"
    )
    return (
        "{% for message in messages %}<|turn|>{{ message['role'] }}: " + said + END + "\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
    )


@dataclass(frozen=True)
class Line:
    """One kind of checkpoint. config: from the vocabulary's size and its tags' ids. tokenizer: named tokens."""

    processor: str
    tags: tuple[str, ...]
    template: str
    config: Callable[[int, dict[str, int]], Any]
    image_processor: Callable[[], Any]
    named: dict[str, str]
    values: dict[str, Any]


def _smolvlm(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.SmolVLMConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": vocabulary, **_ends(ids)},
        vision_config={**EYES, "image_size": 64, "patch_size": 16},
        image_token_id=ids["<image>"],
        scale_factor=2,
    )


def _llava(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": vocabulary, **_ends(ids)},
        vision_config={**EYES, "model_type": "clip_vision_model", "image_size": 64, "patch_size": 16},
        image_token_index=ids["<image>"],
        image_seq_length=16,
    )


def _gemma(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.Gemma3Config(
        text_config={**TEXT, "vocab_size": vocabulary, "query_pre_attn_scalar": 16, "sliding_window": 64, **_ends(ids)},
        vision_config={**EYES, "model_type": "siglip_vision_model", "image_size": 64, "patch_size": 16},
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )


def _internvl(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": vocabulary, **_ends(ids)},
        vision_config={**EYES, "image_size": [64, 64], "patch_size": [16, 16]},
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=4,
    )


def _glm(vocabulary: int, ids: dict[str, int]) -> Any:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 64}
    return transformers.Glm4vConfig(
        text_config={**TEXT, "vocab_size": vocabulary, "rope_parameters": rope, **_ends(ids)},
        vision_config={**vision, "image_size": 112},
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )


def _ends(ids: dict[str, int]) -> dict[str, Any]:
    return {"eos_token_id": ids[END], "pad_token_id": ids[END], "bos_token_id": None}


def _pil(module: str, name: str, **values: Any) -> Callable[[], Any]:
    """An image processor that needs no torchvision."""
    path = f"transformers.models.{module}.image_processing_pil_{module}"
    return lambda: getattr(__import__(path, fromlist=[name]), name)(**values)


_GRID = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
_GLM_TAGS = ("image", "video", "begin_of_image", "end_of_image", "begin_of_video", "end_of_video")
_SQUARE = {"height": 64, "width": 64}
LINES = {
    "smolvlm": Line(
        "SmolVLMProcessor",
        ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>", *_GRID),
        _template("<image>", lists_only=True),
        _smolvlm,
        _pil("smolvlm", "SmolVLMImageProcessorPil", size={"longest_edge": 128}, max_image_size={"longest_edge": 64}),
        {},
        {"image_seq_len": 4},
    ),
    "llava": Line(
        "LlavaProcessor",
        ("<image>",),
        _template("<image>\n"),
        _llava,
        _pil("clip", "CLIPImageProcessorPil", size={"shortest_edge": 64}, crop_size=_SQUARE),
        {},
        {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "gemma3": Line(
        "Gemma3Processor",
        ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        _template("<start_of_image>"),
        _gemma,
        _pil("gemma3", "Gemma3ImageProcessorPil", size=_SQUARE),
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        {"image_seq_length": 4},
    ),
    "internvl": Line(
        "InternVLProcessor",
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        _template("<IMG_CONTEXT>\n"),
        _internvl,
        _pil("got_ocr2", "GotOcr2ImageProcessorPil", size=_SQUARE, crop_to_patches=True, max_patches=4),
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        {"image_seq_length": 4},
    ),
    "glm4v": Line(
        "Glm4vProcessor",
        tuple(f"<|{name}|>" for name in _GLM_TAGS),
        _template("<|begin_of_image|><|image|><|end_of_image|>"),
        _glm,
        _pil("glm4v", "Glm4vImageProcessorPil", size={"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 40}),
        {},
        {},
    ),
}  # fmt: skip


def tiny_line(kind: str, folder: Path) -> Path:
    """Writes a random checkpoint of one of `LINES`, with the files that its processor is read from."""
    torch.manual_seed(5)
    line = LINES[kind]
    tokenizer = _tokenizer(line)
    ids = {tag: tokenizer.convert_tokens_to_ids(tag) for tag in (*line.tags, END)}
    config = line.config(len(tokenizer), ids)
    config.eos_token_id = ids[END]
    model = transformers.AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.05 if kind == "gemma3" else 0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    line.image_processor().save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    values = json.loads(file.read_text())
    values["image_processor_type"] = values["image_processor_type"].removesuffix("Pil")
    file.write_text(json.dumps(values))
    processor = {"processor_class": line.processor, **line.values}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def _tokenizer(line: Line) -> PreTrainedTokenizerFast:
    tokenizer = byte_level_bpe(CORPUS * 3, 330, [*line.tags, "<|turn|>", END])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        chat_template=line.template,
        extra_special_tokens=line.named,
    )
