"""A base for training: its network in float32 or bfloat16, and the renderer that the chat uses."""

from __future__ import annotations

from typing import Any

from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.errors import ModelNotThere, UnsupportedContent
from llm.finetune.settings import TrainSettings
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.runtime.chat_model import EngineChatModel

_TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "query_key_value", "dense", "qkv_proj"),
    "qv": ("q_proj", "v_proj", "query_key_value", "qkv_proj"),
}
_HEADS = ("lm_head", "output_layer", "embed_out")


def renderer(entry: ModelEntry) -> EngineChatModel:
    """The model as the chat loads it, for what it makes of messages.

    Raises:
        UnsupportedContent: its weights are not here.
        ModelError: as `handles.chat`.
    """
    model = handles.chat(entry, None if entry.is_gguf else _plan())
    if not isinstance(model, EngineChatModel):
        raise UnsupportedContent(model=entry.id, content="training", accepted="questions")
    return model


def network(entry: ModelEntry, model: EngineChatModel, settings: TrainSettings) -> Any:
    """The network to train. A .gguf is unpacked, and the engine that it was rendered by is freed.

    Raises:
        ModelNotThere, CorruptModel.
    """
    import torch

    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    if not entry.is_gguf:
        return model.model.to(dtype)
    place = where(entry)
    if place is None:
        raise ModelNotThere(model=entry.id)
    from transformers import AutoModelForCausalLM

    handles.registry().close_all()
    return AutoModelForCausalLM.from_pretrained(place.parent, gguf_file=place.name, dtype=dtype)


def targets(model: Any, wanted: str) -> list[str]:
    """Names of the layers that get a LoRA: every one that multiplies but the head, or those of the attention."""
    from torch import nn

    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    names = [name for name in names if not name.endswith(_HEADS)]
    chosen = [name for name in names if wanted == "all" or name.rpartition(".")[2] in _TARGETS[wanted]]
    return chosen or names


def _plan() -> LoadPlan:
    from llm.machine.hardware import hardware
    from llm.machine.torch_build import torch_build

    cuda = bool(hardware().gpus) and torch_build().cuda
    return LoadPlan("cuda" if cuda else "cpu", "float32", reason="training")
