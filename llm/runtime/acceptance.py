"""What is looked at before somebody's own model is accepted or loaded: can it run here, and how is it sampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_json
from llm.errors import CorruptModel
from llm.planning.engines import engine_of
from llm.settings import CONTROLS


def check_runs(entry: ModelEntry, path: Path | None = None) -> None:
    """Asks the engine's library whether it knows the architecture: transformers' list, or llama.cpp itself.

    Args:
        path: where the files are; None takes the entry's own path, and nothing is asked without one.

    Raises:
        UnsupportedModel: it doesn't; running the checkpoint's own code is never tried.
        CorruptModel: config.json or the GGUF header cannot be read.
    """
    path = path or entry.path
    if path is None:
        return
    check = engine_of(entry).check
    if check is not None:
        check(entry, path)


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
    for control in CONTROLS:
        name, value = control.name, found.get(control.name)
        if name in ("temperature", "top_p", "top_k", "repetition_penalty") and isinstance(value, (int, float)):
            value = min(max(value, control.minimum or 0), control.maximum or value)
            values[name] = int(value) if name == "top_k" else float(value)
    return values
