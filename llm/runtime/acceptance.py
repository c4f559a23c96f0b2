"""Whether a model that somebody wants to add can run here at all, before it is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm.catalogue.checkpoint import read_json
from llm.catalogue.entry import ModelEntry
from llm.errors import UnsupportedModel


def check_runs(entry: ModelEntry, config: dict[str, Any] | None = None) -> None:
    """Asks the engine's library whether it knows the architecture. Imports transformers when that is the engine.

    Raises:
        UnsupportedModel: it doesn't; running the checkpoint's own code is never tried.
        CorruptModel: config.json cannot be read.
    """
    if entry.engine != "transformers":
        return
    if config is None:
        if entry.path is None:
            return
        config = read_json(Path(entry.path) / "config.json")
    from llm.families import checkpoint_loader

    if checkpoint_loader(config) is not None:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING_NAMES:
        detail = (
            f"transformers has no architecture {model_type or '(none named)'!r}, and the model's own code is not run"
        )
        raise UnsupportedModel(path=str(entry.path or entry.name), detail=detail)
