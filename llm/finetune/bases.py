"""A base for training: its tokenizer with the chat's own renderer, and its network with gradients through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.engine import Engine, GenerationStep, MemoryUse
from llm.errors import ModelNotThere, UnsupportedContent
from llm.finetune.errors import CannotTune
from llm.finetune.settings import TrainSettings
from llm.plan import LoadPlan, Precision
from llm.prompt import Piece, Prompt, Span
from llm.runtime.chat_model import EngineChatModel
from llm.settings import GenerationSettings

GGUF_KINDS = frozenset(("llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral", "phi3"))
"""Architectures whose GGUF files can be trained from."""
_READING = LoadPlan(device="cpu", context_tokens=512, reason="reading")


@contextmanager
def reading(entry: ModelEntry, place: Path) -> Iterator[EngineChatModel]:
    """A model that renders and encodes as the chat does, and has no weights on any device: they stay free for training.

    Raises:
        CorruptModel, UnsupportedModel: the model's files cannot be read.
    """
    if not entry.is_gguf:
        from llm.engines.transformers.loading import open_tokenizer

        yield EngineChatModel(entry, _READING, _Reader(open_tokenizer(place)))
        return
    from llm.engines.llamacpp.engine import load

    loaded = load(entry, place, _READING, lambda stage, done, total: None)  # the file is mapped, not read
    try:
        yield EngineChatModel(entry, _READING, _Reader(loaded))
    finally:
        loaded.close()


class _Reader(Engine):
    """Encodes as a model's own engine does, at any length."""

    def __init__(self, source: Any) -> None:
        self.context_tokens = 1 << 30
        self.chat_template, self.tool_template = source.chat_template, source.tool_template
        self.special_tokens, self.stop_ids = source.special_tokens, source.stop_ids
        self.bos_text, self.eos_text, self.image_tag = source.bos_text, source.eos_text, source.image_tag
        self._source = source

    def encode(self, spans: Sequence[Span]) -> Prompt:
        if hasattr(self._source, "encode"):
            pieces = self._source.encode(spans).pieces
        else:
            pieces = tuple(Piece(i, text, span.kind) for i, text, span in self._source.encode_spans(spans))
        text = "".join(span.text for span in spans)
        return Prompt(text, tuple(piece.id for piece in pieces), pieces, self.context_tokens)

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        raise UnsupportedContent(model="a tokenizer", content="questions", accepted="text to encode")

    def memory(self) -> MemoryUse:
        return MemoryUse()

    def close(self) -> None:
        return None


def network(entry: ModelEntry, place: Path, settings: TrainSettings) -> tuple[Any, Callable[[list[int]], str]]:
    """The network, whose weights are frozen, and what turns ids into words. A .gguf is unpacked.

    Raises:
        CannotTune: the model is of a kind that cannot be trained.
        CorruptModel, UnsupportedModel, OutOfMemory: as of the engine.
    """
    if place.is_file():
        model, tokenizer = _from_gguf(entry, place, settings)
    else:
        from llm.engines.transformers.loading import open_model, open_tokenizer

        model = open_model(entry, place, LoadPlan(device=device(), precision=precision(settings)))
        tokenizer = open_tokenizer(place)
        if precision(settings) == "int8":
            _compute_in_float32(model)
    model.requires_grad_(False)
    return model.eval(), lambda ids: str(tokenizer.decode(ids))


def _compute_in_float32(model: Any) -> None:
    """Everything but the weights in 8 bits: twice as fast on a CPU that does not multiply bfloat16 by itself."""
    from llm.engines.transformers.quantized_linear import RoundedLinear

    for module in model.modules():
        if not isinstance(module, RoundedLinear):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.float()


def place_of(entry: ModelEntry) -> Path:
    """
    Raises:
        ModelNotThere: its weights are not here.
    """
    place = where(entry)
    if place is None:
        raise ModelNotThere(model=entry.name)
    return place


def device() -> Literal["cpu", "cuda"]:
    """Where a run trains."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(settings: TrainSettings) -> Precision:
    """What a base is held in for training."""
    if settings.method == "qlora":
        return "int4" if device() == "cuda" else "int8"
    if settings.precision in ("float32", "bfloat16"):
        return settings.precision  # type: ignore[return-value] # narrowed by the line before
    return "bfloat16" if device() == "cuda" and settings.method != "full" else "float32"


def _from_gguf(entry: ModelEntry, place: Path, settings: TrainSettings) -> tuple[Any, Any]:
    """Unpacked: the adapter is then for these weights as llama.cpp has them, up to its rounding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm.catalogue import gguf

    architecture = gguf.read_header(place).architecture
    if architecture not in GGUF_KINDS:
        raise CannotTune(model=entry.name, detail=f"GGUF files of {architecture} models cannot be trained from")
    if settings.method == "qlora":
        raise CannotTune(model=entry.name, detail="QLoRA is for model folders; choose LoRA")
    dtype = torch.bfloat16 if precision(settings) == "bfloat16" else torch.float32
    arguments: dict[str, Any] = {"gguf_file": place.name, "local_files_only": True}
    model: Any = AutoModelForCausalLM.from_pretrained(place.parent, dtype=dtype, **arguments)
    return model.to(device()), AutoTokenizer.from_pretrained(place.parent, **arguments)
