"""What is looked at before somebody's own model is accepted or loaded: can it run here, and how is it sampled."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from llm.catalogue.checkpoint import read_json
from llm.catalogue.entry import ModelEntry
from llm.catalogue.gguf import read_header
from llm.engines.probes import ProbeFailed, probe
from llm.errors import CorruptModel, UnsupportedModel
from llm.settings import controls


def check_runs(entry: ModelEntry, path: Path | None = None) -> None:
    """Asks the engine's library whether it knows the architecture: transformers' list, or llama.cpp itself.

    Args:
        path: where the files are; None takes the entry's own path, and nothing is asked without one.

    Raises:
        UnsupportedModel: it doesn't; running the checkpoint's own code is never tried.
        CorruptModel: config.json or the GGUF header cannot be read.
    """
    if entry.embeds_only:
        raise UnsupportedModel(path=entry.name, detail="it only makes vectors of texts, which no engine here does yet")
    path = path or entry.path
    if path is None:
        return
    if entry.engine == "llamacpp":
        _check_gguf(path if path.is_file() else path / entry.file)
    elif entry.engine == "transformers":
        _check_checkpoint(path)


def _check_gguf(path: Path) -> None:
    architecture = read_header(path).architecture
    if architecture and not llamacpp_knows(architecture):
        detail = f"this llama.cpp knows no architecture {architecture!r}; a newer Hearth may"
        raise UnsupportedModel(path=str(path), detail=detail)


@lru_cache(maxsize=256)
def llamacpp_knows(architecture: str) -> bool:
    """Whether the llama.cpp that is installed loads models of an architecture, as GGUF names it.

    The binding has no list, so llama.cpp is shown a file with this name and nothing else, in a process of its
    own, and its complaint is read. Where it cannot be asked the answer is yes: loading will tell.
    """
    try:
        return bool(probe("llamacpp_architecture", argument=architecture)["known"])
    except ProbeFailed:
        return True


def _check_checkpoint(folder: Path) -> None:
    config = read_json(folder / "config.json")
    from llm.checkpoints import has_loader

    if has_loader(config):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING_NAMES:
        named = repr(model_type) if model_type else "(none named)"
        detail = f"transformers has no architecture {named}, and the model's own code is not run"
        raise UnsupportedModel(path=str(folder), detail=detail)


def with_sampling(entry: ModelEntry) -> ModelEntry:
    """The entry with sampling defaults where it has none: its own generation_config.json's, else its line's published.

    A local folder says how it wants to be sampled; ChatGLM's and other lines' early repositories don't.
    """
    if entry.sampling or not entry.converses:
        return entry
    from llm.families.published import sampling_of

    own = _own_sampling(entry.path / "generation_config.json") if entry.path and entry.path.is_dir() else {}
    return replace(entry, sampling=own or dict(sampling_of(entry.family).values))


def _own_sampling(path: Path) -> dict[str, float]:
    """What generation_config.json sets of our settings, as far as they can be turned; greedy is temperature 0."""
    try:
        found = read_json(path)
    except CorruptModel:  # most often it is just not there
        return {}
    if not isinstance(found, dict):
        return {}
    if found.get("do_sample") is False:
        return {"temperature": 0.0}
    values = {}
    for name, control in controls():
        value = found.get(name)
        if name in ("temperature", "top_p", "top_k", "repetition_penalty") and isinstance(value, (int, float)):
            value = min(max(value, control.minimum or 0), control.maximum or value)
            values[name] = int(value) if name == "top_k" else float(value)
    return values
