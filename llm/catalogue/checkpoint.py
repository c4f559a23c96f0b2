"""Reads what a model folder says of itself: config.json and the sizes of its weights, nothing executed.

Covers Hugging Face checkpoints (safetensors or PyTorch) and CTranslate2's Whisper folders. Numbers of
parameters come from the safetensors headers (https://huggingface.co/docs/safetensors: eight bytes of
length, then JSON).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ONE_JOB, Ability, ModelEntry, Shape, Task
from llm.catalogue.heads import ENCODERS, head_of, ranks_pairs, tensor_shapes
from llm.catalogue.json_file import MAX_JSON_BYTES, read_json
from llm.catalogue.pooling import Recipe, recipe_of, says_embeds
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
# Model lines whose later generations only append a number or suffix to the line's name.
_LINES = ("qwen", "gemma", "llama", "mistral", "phi", "smollm", "glm", "olmo", "granite", "internlm", "deepseek")


def entry_of_folder(folder: Path) -> ModelEntry:
    """A catalogue entry for a model folder, its id the folder's path.

    Raises:
        CorruptModel: config.json or the weights are missing, cut short or not what their names say.
        UnsupportedModel: no engine runs this architecture.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CorruptModel(path=str(folder), detail="its config.json is not an object")
    if (folder / "model.bin").is_file() and "model_type" not in config:
        return _whisper_entry(folder)
    kind = _kind_of(folder, config)
    files = weight_files(folder)
    parameters, size_bytes = _measure(files)
    recipe = recipe_of(folder) if "embeddings" in kind.abilities else Recipe()
    return ModelEntry(
        id=str(folder),
        name=folder.name,
        task=kind.task,
        family=kind.family,
        engine="whisper" if kind.family == "whisper" else "transformers",
        parameters=parameters,
        size_bytes=size_bytes,
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
        UnsupportedModel: no engine runs this architecture.
    """
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


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, safetensors before pickles, each of them there.

    Raises:
        CorruptModel: there are none, or one that the index names is missing.
    """
    for suffix, index in (("safetensors", "model.safetensors.index.json"), ("bin", "pytorch_model.bin.index.json")):
        if (folder / index).is_file():
            names = sorted(set(read_json(folder / index).get("weight_map", {}).values()))
            missing = [name for name in names if not (folder / name).is_file()]
            if missing or not names:
                raise CorruptModel(path=str(folder), detail=f"{', '.join(missing) or 'every shard'} is missing")
            return [folder / name for name in names]
        found = sorted(f for f in folder.glob(f"*.{suffix}") if f.is_file() and f.stem not in _NOT_WEIGHTS)
        if found:
            _check_shards(folder, found)
            return found
    raise CorruptModel(path=str(folder), detail="it has no weights (*.safetensors or *.bin)")


_NOT_WEIGHTS = {"training_args", "optimizer", "scheduler", "rng_state"}


def _check_shards(folder: Path, found: list[Path]) -> None:
    """Without an index, `model-00001-of-00008` still says how many there ought to be."""
    counts = [f.stem.rsplit("-of-", 1)[1] for f in found if "-of-" in f.stem]
    if counts and counts[0].isdigit() and len(counts) < int(counts[0]):
        raise CorruptModel(path=str(folder), detail=f"{len(counts)} of {int(counts[0])} weight files are there")


def safetensors_parameters(path: Path) -> int:
    """How many numbers a safetensors file holds. Packed integers (GPTQ's, bitsandbytes') count as stored.

    Raises:
        CorruptModel: the header cannot be read, or the file is shorter than its tensors.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(size_bytes - 8, MAX_JSON_BYTES):
            raise CorruptModel(path=str(path), detail="it is not a safetensors file or is cut short")
        try:
            header: Mapping[str, Any] = json.loads(file.read(length))
            tensors = [value for name, value in header.items() if name != "__metadata__"]
            end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
            count = sum(_product(tensor["shape"]) for tensor in tensors)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise CorruptModel(path=str(path), detail=f"its header is damaged ({error})") from error
    if 8 + length + end > size_bytes:
        raise CorruptModel(
            path=str(path), detail=f"it is cut short: {8 + length + end} bytes of {size_bytes} are there"
        )
    return count


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The measures of the (text) transformer that a config.json describes, whichever names it uses for them."""
    config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config  # type: ignore

    def first(*names: str) -> int:
        values = (config.get(name) for name in names)
        return next((int(v) for v in values if isinstance(v, (int, float)) and v > 0), 0)

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


def _product(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _measure(files: list[Path]) -> tuple[int, int]:
    """Parameters (0 when they are in pickles, which are not opened here) and bytes of the weights."""
    size_bytes = sum(f.stat().st_size for f in files)
    if files[0].suffix != ".safetensors":
        return 0, size_bytes
    return sum(safetensors_parameters(f) for f in files), size_bytes


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
    head = head_of(config)
    if head is None and not any("For" in name or "LMHead" in name for name in architectures):
        head = head_of(config, tensor_shapes(sorted(folder.glob("*.safetensors"))))
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
    if int(config.get("padded_vocab_size") or config.get("vocab_size") or 0) > 100_000:
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
