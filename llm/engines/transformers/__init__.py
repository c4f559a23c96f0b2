"""The transformers engine: any local Hugging Face checkpoint with a chat template. See `load`."""

from __future__ import annotations

import os
from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.engine import Engine
from llm.plan import LoadPlan, LoadProgress

# Before torch is imported: its threads wait for each other by sleeping. By default they spin, and where a
# browser and a server share the cores, each spins away the time that the other needs: on 2 busy cores a
# step of 4 answers then took 401 to 3,700 ms instead of 130 to 190.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Engine:
    """Loads a checkpoint folder. See `llm.engines.transformers.loading.load`."""
    from llm.engines.transformers.loading import load as load_checkpoint

    return load_checkpoint(entry, path, plan, progress)
