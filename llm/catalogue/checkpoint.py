"""Reads what a model folder says of itself: config.json and the sizes of its weights, nothing executed.

Covers Hugging Face checkpoints (safetensors or PyTorch) and CTranslate2's Whisper folders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ONE_JOB, Ability, ModelEntry, Shape, Task
from llm.catalogue.heads import ENCODERS, head_of, ranks_pairs, tensor_shapes
from llm.catalogue.json_file import checked_config, read_config
from llm.catalogue.pooling import Recipe, recipe_of, says_embeds
from llm.catalogue.weights import check_weights, count_parameters, weight_files
from llm.errors import CorruptModel, UnsupportedModel

_CONTEXT_KEYS = ("max_position_embeddings", "seq_length", "n_positions", "model_max_length", "max_sequence_length")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a `model_type` of config.json stands for."""

    family: str
    task: Task = "text-generation"
    abilities: frozenset[Ability] = frozenset({"text"})


_SEES: frozenset[Ability] = frozenset({"text", "image"})
_ABILITY_OF_INPUT: Mapping[Task, frozenset[Ability]] = {
    "image-classification": frozenset({"image"}),
    "object-detection": frozenset({"image"}),
    "image-segmentation": frozenset({"image"}),
    "visual-question-answering": _SEES,
    "audio-classification": frozenset({"audio"}),
}
_KINDS = {
    "baichuan": _Kind("baichuan"),
    "chinese_clip": _Kind("chinese-clip", "zero-shot-image-classification", _SEES),
    "clip": _Kind("clip", "zero-shot-image-classification", _SEES),
    "gemma3": _Kind("gemma", "image-text-to-text", _SEES),
    "gpt_bigcode": _Kind("starchat"),
    "qwen2_5_vl": _Kind("qwen2-vl", "image-text-to-text", _SEES),
    "qwen2_vl": _Kind("qwen2-vl", "image-text-to-text", _SEES),
    "qwen3_vl": _Kind("qwen2-vl", "image-text-to-text", _SEES),
    "whisper": _Kind("whisper", "automatic-speech-recognition", frozenset({"audio"})),
}
_PRETRAINED: frozenset[Task] = frozenset({"fill-mask"})
"""Heads of pretraining, which embedders may still be published with."""
_DECODES = {"lm_head.weight", "model.embed_tokens.weight", "language_model.lm_head.weight", "transformer.wte.weight"}
"""Tensors of a language model that writes, where its config.json names no class."""
# Model lines whose later generations only append a number or suffix to the line's name.
_LINES = ("qwen", "gemma", "llama", "mistral", "phi", "smollm", "glm", "olmo", "granite", "internlm", "deepseek")


def entry_of_folder(folder: Path) -> ModelEntry:
    """A catalogue entry for a model folder, its id the folder's path.

    Raises:
        CorruptModel: config.json or the weights are missing, cut short or not what their names say.
        UnsupportedModel: no engine runs this architecture.
    """
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        weight_files(folder)  # names it as an adapter
    config = read_config(folder)
    if (folder / "model.bin").is_file() and "model_type" not in config:
        return _whisper_entry(folder)
    kind = _kind_of(folder, config)
    files = weight_files(folder)
    check_weights(files)
    recipe = recipe_of(folder) if "embeddings" in kind.abilities else Recipe()
    return ModelEntry(
        id=str(folder),
        name=folder.name,
        task=kind.task,
        family=kind.family,
        engine="whisper" if kind.family == "whisper" else "transformers",
        parameters=count_parameters(files),
        size_bytes=sum(file.stat().st_size for file in files),
        context_tokens=_context(config),
        abilities=kind.abilities,
        path=folder,
        shape=shape_of(config),
        quantisation=_quantisation(config),
        query_prefix=recipe.query_prefix,
        passage_prefix=recipe.passage_prefix,
        own=True,
    )


def entry_of_config(config: Mapping[str, Any], name: str) -> ModelEntry:
    """An entry from a config.json alone, for a model that isn't here yet.

    Raises:
        CorruptModel: a part of it is of the wrong kind.
        UnsupportedModel: no engine runs this architecture.
    """
    config = checked_config(config, Path(name) / "config.json")
    kind = _kind_of(Path(name), config)
    return ModelEntry(
        id=name,
        name=name,
        task=kind.task,
        family=kind.family,
        engine="whisper" if kind.family == "whisper" else "transformers",
        context_tokens=_context(config),
        abilities=kind.abilities,
        shape=shape_of(config),
        quantisation=_quantisation(config),
        own=True,
    )


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The measures of the (text) transformer that a config.json describes, whichever names it uses for them."""
    config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config  # type: ignore

    def first(*names: str) -> int:
        return next(filter(None, (_number(config.get(name)) for name in names)), 0)

    heads, hidden = first("num_attention_heads", "n_head"), first("hidden_size", "n_embd")
    groups = first("multi_query_group_num") if config.get("multi_query_attention") else 0
    if config.get("multi_query") is True:
        groups = 1
    return Shape(
        layers=first("num_hidden_layers", "num_layers", "n_layer"),
        hidden=hidden,
        heads=heads,
        kv_heads=groups or first("num_key_value_heads") or heads,
        head_dim=first("head_dim", "kv_channels") or (hidden // heads if heads else 0),
        intermediate=first("intermediate_size", "ffn_hidden_size", "inner_hidden_size", "n_inner"),
        vocab=first("vocab_size", "padded_vocab_size"),
    )


def _number(value: Any) -> int:
    """A whole number above 0; of one value per layer the largest; 0 when it is none."""
    if isinstance(value, list):
        return max(map(_number, value), default=0)
    return int(value) if type(value) in (int, float) and 1 <= value < 1 << 40 else 0


def _whisper_entry(folder: Path) -> ModelEntry:
    if not any((folder / name).is_file() for name in ("vocabulary.txt", "vocabulary.json")):
        raise CorruptModel(path=str(folder), detail="it has no vocabulary")
    return ModelEntry(
        id=str(folder),
        name=folder.name,
        task="automatic-speech-recognition",
        family="whisper",
        engine="whisper",
        size_bytes=(folder / "model.bin").stat().st_size,
        abilities=frozenset({"audio"}),
        path=folder,
        own=True,
    )


def _kind_of(folder: Path, config: Mapping[str, Any]) -> _Kind:
    model_type = str(config.get("model_type", "")).lower()
    architectures = [str(name) for name in config.get("architectures") or ()]
    head, shapes = head_of(config), {}
    if head is None and not any("For" in name or "LMHead" in name for name in architectures):
        with contextlib.suppress(CorruptModel, UnsupportedModel):
            shapes = tensor_shapes(weight_files(folder))
        head = head_of(config, shapes)
    is_trunk = head is None or head.task in _PRETRAINED
    if (is_trunk and says_embeds(folder)) or (head is None and _is_bare_trunk(model_type, architectures)):
        return _Kind(_line(folder, model_type), "feature-extraction", frozenset({"embeddings"}))
    if ranks_pairs(config):
        return _Kind(model_type, "text-ranking")
    if head is not None and head.task in ONE_JOB:
        return _Kind(model_type, head.task, _ABILITY_OF_INPUT.get(head.task, frozenset({"text"})))
    if model_type in _KINDS:
        return _KINDS[model_type]
    if model_type == "chatglm":
        return _Kind(_glm_generation(folder, config))
    if model_type == "qwen":
        return (
            _Kind("qwen-vl", "image-text-to-text", frozenset({"text", "image", "boxes"}))
            if "visual" in config
            else _Kind("qwen")
        )
    if not architectures and model_type and not _DECODES.isdisjoint(shapes):  # as older and converted ones are
        sees = "vision_config" in config
        return _Kind(_line(folder, model_type), *(("image-text-to-text", _SEES) if sees else ()))
    if not any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in architectures):
        detail = f"its architecture is {', '.join(architectures) or model_type or 'not named'}"
        raise UnsupportedModel(path=str(folder), detail=detail)
    if any(name.endswith("ForConditionalGeneration") for name in architectures) and "vision_config" in config:
        return _Kind(_line(folder, model_type), "image-text-to-text", _SEES)
    return _Kind(_line(folder, model_type))


def _is_bare_trunk(model_type: str, architectures: list[str]) -> bool:
    """Whether it is an encoder of texts without a head, as embedders are published."""
    return model_type in ENCODERS and bool(architectures) and architectures[0].endswith("Model")


def _line(folder: Path, model_type: str) -> str:
    """The model line: by the folder's name where a line reuses another's architecture, else by the type."""
    name = folder.name.lower()
    for line in ("smollm", "deepseek"):
        if line in name:
            return line
    return next((line for line in _LINES if model_type.startswith(line)), model_type)


def _glm_generation(folder: Path, config: Mapping[str, Any]) -> str:
    """ChatGLM 1 to GLM-4 share one model_type. 1 is 2D-positional; GLM-4's vocabulary is larger; 3 has role tags."""
    if config.get("position_encoding_2d") or "inner_hidden_size" in config:
        return "chatglm"
    if (_number(config.get("padded_vocab_size")) or _number(config.get("vocab_size"))) > 100_000:
        return "glm4"
    name = f"{folder.name} {config.get('_name_or_path', '')}".lower()
    if "chatglm2" in name:
        return "chatglm2"
    if "chatglm3" in name:
        return "chatglm3"
    tokenizer = folder / "tokenizer_config.json"
    tagged = tokenizer.is_file() and "<|user|>" in tokenizer.read_text(encoding="utf-8", errors="replace")
    return "chatglm3" if tagged else "chatglm2"


def _context(config: Mapping[str, Any]) -> int:
    for part in (config, config.get("text_config") or {}):
        for key in _CONTEXT_KEYS:
            value = part.get(key)
            if isinstance(value, int) and 0 < value < 1 << 30:
                return value
    return 0


def _quantisation(config: Mapping[str, Any]) -> str:
    quantised = config.get("quantization_config")
    if not isinstance(quantised, dict):
        return ""
    method, bits = quantised.get("quant_method", "quantised"), quantised.get("bits")
    return f"{method}-int{bits}" if bits else str(method)
