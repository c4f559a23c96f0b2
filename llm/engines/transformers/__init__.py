"""The transformers engine: any local Hugging Face checkpoint with a chat template. See `load`."""

from __future__ import annotations

from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.engines.base import Engine, LoadPlan, LoadProgress


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Engine:
    """Loads a checkpoint folder. See `llm.engines.transformers.loading.load`."""
    from llm.engines.transformers.loading import load as load_checkpoint

    return load_checkpoint(entry, path, plan, progress)
