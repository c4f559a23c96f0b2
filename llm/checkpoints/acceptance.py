"""Whether transformers can run a checkpoint, found out before it is loaded."""

from __future__ import annotations

from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_config
from llm.checkpoints import has_loader
from llm.errors import UnsupportedModel


def check_checkpoint(entry: ModelEntry, folder: Path) -> None:
    """Refuses a folder of an architecture that neither transformers nor `llm.checkpoints` knows.

    Raises:
        UnsupportedModel: nobody knows it; running the checkpoint's own code is never tried.
        CorruptModel: config.json cannot be read.
    """
    config = read_config(folder)
    if has_loader(config):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING_NAMES:
        named = repr(model_type) if model_type else "(none named)"
        detail = f"transformers has no architecture {named}, and the model's own code is not run"
        raise UnsupportedModel(path=str(folder), detail=detail)
