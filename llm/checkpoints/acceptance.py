"""Whether transformers can run a checkpoint, found out before it is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_config
from llm.checkpoints import has_loader
from llm.errors import MissingPackage, UnsupportedModel

_PACKAGES = {
    "aqlm": "aqlm",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "hqq": "hqq",
    "vptq": "vptq",
}
"""What transformers asks for by `quant_method`."""


def check_checkpoint(entry: ModelEntry, folder: Path) -> None:
    """Refuses a folder of an architecture that neither transformers nor `llm.checkpoints` knows.

    Raises:
        UnsupportedModel: nobody knows it; running the checkpoint's own code is never tried.
        CorruptModel: config.json cannot be read.
        MissingPackage: its weights are packed in a way that another package unpacks; names it.
    """
    config = read_config(folder)
    if has_loader(config):
        return
    method = str(config.get("quantization_config", {}).get("quant_method", ""))
    package = _PACKAGES.get(method)
    if package and find_spec(package.replace("-", "_")) is None:
        raise MissingPackage(package=package)
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING_NAMES:
        named = repr(model_type) if model_type else "(none named)"
        detail = f"transformers has no architecture {named}, and the model's own code is not run"
        raise UnsupportedModel(path=str(folder), detail=detail)
