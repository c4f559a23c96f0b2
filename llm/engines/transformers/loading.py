"""From a checkpoint folder to a running engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_config
from llm.catalogue.weights import check_weights, count_parameters, weight_files
from llm.config import config as hearth_config
from llm.engines.transformers import placement as plans
from llm.engines.transformers.adapters import Adapters
from llm.engines.transformers.decoder import Decoder
from llm.engines.transformers.engine import TransformersEngine
from llm.engines.transformers.examine import examine
from llm.engines.transformers.native_generate import OwnLoop
from llm.engines.transformers.scheduler import Limits, Scheduler
from llm.engines.transformers.tokenizer import load_tokenizer
from llm.errors import CorruptModel, ModelError, OutOfMemory, UnsupportedModel
from llm.families.base import SpanTokenizer
from llm.machine.allocation import is_out_of_memory
from llm.machine.heap import give_back
from llm.plan import LoadPlan, LoadProgress

log = logging.getLogger(__name__)

# Where models write the longest text that they were made for.
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx")
UNKNOWN_CONTEXT_TOKENS = 2048
DEFAULT_CONTEXT_TOKENS = 8192
"""At most so much by itself, as llama.cpp's engine: a model that could take 262,144 would seem to need 30 GB."""
PREFIX_SHARE = 1 / 8
MAX_PREFIX_BYTES = 4 * 2**30


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> TransformersEngine:
    """Loads a Hugging Face checkpoint folder: config.json, safetensors or .bin weights, a tokenizer.

    No code of the folder is run. A model type that transformers doesn't know is loaded by the family that
    claims it (`llm.checkpoints.checkpoint_loader`).

    Args:
        entry: what the catalogue knows; its name appears in errors.
        path: the folder.
        plan: device, precision and context length; what is `auto` is decided, see the engine's `plan`.
        progress: called with a stage and how far it is, from 0 to 1.

    Raises:
        UnsupportedModel: the model's kind, or what the plan asks for, cannot be run.
        CorruptModel: a file is missing or damaged; names it.
        OutOfMemory: the weights don't fit.
    """
    from transformers.utils import logging as transformers_logging

    from llm.checkpoints import checkpoint_loader

    transformers_logging.disable_progress_bar()
    # It warns of the same cast at every multiplication: thousands of lines an answer.
    logging.getLogger("bitsandbytes.autograd").setLevel(logging.ERROR)
    progress("checking", 0, 1)
    config = read_config(path)
    loader = checkpoint_loader(config)
    auto_class = _auto_class(path, config) if loader is None else None
    weights = _weights(path, config)
    resolved = plans.resolve(plan, weights, str(path))
    if resolved.device == "cuda":
        # cuDNN's attention prepares itself anew for each length, thus at each token of an answer.
        torch.backends.cuda.enable_cudnn_sdp(False)
    progress("tokenizer", 0, 1)
    tokenizer = _load_tokenizer(path, config, loader, auto_class)
    progress("weights", 0, 1)
    model = _load_model(entry, path, resolved, loader or auto_class, config)
    progress("trying", 0, 1)
    engine = _start(entry, model, tokenizer, resolved)
    give_back()
    progress("ready", 1, 1)
    return engine


def open_tokenizer(path: Path) -> SpanTokenizer:
    """A checkpoint folder's tokenizer without its weights.

    Raises:
        CorruptModel, UnsupportedModel: as `load`.
    """
    from llm.checkpoints import checkpoint_loader

    config = read_config(path)
    loader = checkpoint_loader(config)
    return _load_tokenizer(path, config, loader, _auto_class(path, config) if loader is None else None)


def open_model(entry: ModelEntry, path: Path, plan: LoadPlan) -> Any:
    """A checkpoint folder's network without tokenizer and engine.

    Raises:
        CorruptModel, UnsupportedModel, OutOfMemory: as `load`.
    """
    from llm.checkpoints import checkpoint_loader

    config = read_config(path)
    weights = _weights(path, config)
    resolved = plans.resolve(plan, weights, str(path))
    loader = checkpoint_loader(config)
    return _load_model(entry, path, resolved, loader or _auto_class(path, config), config)


def _weights(path: Path, config: Mapping[str, Any]) -> plans.Weights:
    """How many there are; pickles are taken to hold 16-bit numbers, as most do."""
    files = weight_files(path)
    check_weights(files)
    parameters = count_parameters(files) or sum(file.stat().st_size for file in files) // 2
    return plans.Weights(parameters, "quantization_config" in config)


def _load_tokenizer(path: Path, config: Mapping[str, Any], loader: Any, auto_class: Any) -> SpanTokenizer:
    """The family's own, or transformers' with its picture processor where the model takes pictures."""
    if loader is not None:
        own: SpanTokenizer | None = loader.load_tokenizer(path, config)
        return own or load_tokenizer(path, _stop_ids(path, config))
    if auto_class.__name__ == "AutoModelForImageTextToText":
        from llm.engines.transformers import vision

        return vision.load_tokenizer(path, config, _stop_ids(path, config))
    return load_tokenizer(path, _stop_ids(path, config))


def _load_model(entry: ModelEntry, path: Path, plan: LoadPlan, loader: Any, config: Mapping[str, Any]) -> Any:
    """`loader`: a family's `CheckpointLoader`, or one of transformers' auto classes."""
    arguments = plans.load_arguments(plan)
    info: Mapping[str, Any] = {"missing_keys": ()}
    try:
        if hasattr(loader, "load_model"):
            model = loader.load_model(path, config, **arguments)
        else:
            model, info = loader.from_pretrained(
                path,
                config=_network_config(config),
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **arguments,
            )
    except ModelError:
        raise
    except Exception as error:  # readers of several formats, each with its own kinds of error
        if is_out_of_memory(error):
            raise OutOfMemory(model=entry.name, detail=str(error)) from error
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}") from error
    # Weights that the files lack would be random numbers.
    missing = sorted(info["missing_keys"])
    if missing:
        raise CorruptModel(path=str(path), detail=f"its weights lack {len(missing)} tensors, {missing[0]} for one")
    return model.eval()


def _network_config(config: Mapping[str, Any]) -> Any:
    """transformers' configuration of a config.json that was read here: byte order marks are none of its business,
    and which files hold the weights is not the config's to say."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[config["model_type"]].from_dict(
        {key: value for key, value in config.items() if key != "transformers_weights"}
    )


def _auto_class(path: Path, config: Mapping[str, Any]) -> Any:
    """The class that loads it: by the architecture that the checkpoint names, with pictures or without."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    _refuse_unknown(path, config)
    architecture = (config.get("architectures") or [""])[0]
    model_type = config["model_type"]
    vision = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(model_type)
    sees = architecture == vision or (not architecture and "vision_config" in config)
    if vision is not None and (sees or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        return AutoModelForImageTextToText
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedModel(path=str(path), detail=f"{model_type} models don't write text")
    return AutoModelForCausalLM


def _refuse_unknown(path: Path, config: Mapping[str, Any]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING_NAMES:
        detail = f"model type {model_type!r} is not known"
        if config.get("auto_map"):
            detail += " and the code that comes with the weights is not run"
        raise UnsupportedModel(path=str(path), detail=detail)
    if config.get("is_encoder_decoder"):
        raise UnsupportedModel(path=str(path), detail=f"{model_type} is an encoder-decoder model, which cannot chat")


def _start(entry: ModelEntry, model: Any, tokenizer: SpanTokenizer, plan: LoadPlan) -> TransformersEngine:
    settings = hearth_config()
    context_tokens = plan.context_tokens or min(_context_tokens(model.config), DEFAULT_CONTEXT_TOKENS)
    decoder = Decoder(model)
    policy = examine(model, decoder, settings.parallel)
    free = plans.free_bytes(plan.device)
    limits = Limits(
        parallel=settings.parallel,
        queue=settings.queue_limit,
        prefix_bytes=min(MAX_PREFIX_BYTES, int(free * PREFIX_SHARE)),
        threads=settings.threads,
    )
    adapters = Adapters(model)
    scheduler = Scheduler(entry.name, decoder, OwnLoop(model), policy, limits, adapters)
    resolved = replace(plan, context_tokens=context_tokens)
    log.info("%s: %s %s", entry.name, resolved.reason, policy.reason)
    return TransformersEngine(entry, model, tokenizer, resolved, scheduler, adapters)


def _context_tokens(config: Any) -> int:
    text_config = config.get_text_config(decoder=True)
    for key in CONTEXT_KEYS:
        value = getattr(text_config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return UNKNOWN_CONTEXT_TOKENS


def _stop_ids(path: Path, config: Mapping[str, Any]) -> frozenset[int]:
    """End-of-sequence ids of config.json and generation_config.json: a number, a list, or none."""
    from transformers import GenerationConfig

    values = [config.get("eos_token_id"), (config.get("text_config") or {}).get("eos_token_id")]
    if (path / "generation_config.json").is_file():
        try:
            values.append(GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id)
        except (OSError, ValueError) as error:
            raise CorruptModel(path=str(path / "generation_config.json"), detail=str(error)) from error
    ids = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return frozenset(item for item in ids if isinstance(item, int))
