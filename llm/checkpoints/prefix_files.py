"""Where the P-Tuning v2 prefix of a ChatGLM checkpoint lies, as the published scripts save it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.checkpoints.loading import StoredTensor, file_tensors, stored_tensors
from llm.errors import CorruptModel

PREFIX_FILE = "pytorch_model_ptuning.bin"
PREFIX_TENSORS = "transformer.prefix_encoder."


def with_prefix(folder: Path, config: Mapping[str, Any], embedding: str) -> dict[str, StoredTensor]:
    """A network's tensors, with a prefix if config.json has a `pre_seq_len`, without one otherwise.

    The prefix lies beside the weights (`pytorch_model_ptuning.bin`) or is all that the folder's pytorch_model.bin
    holds; then `_name_or_path` is the folder of the network.

    Args:
        embedding: a tensor that every network has.

    Raises:
        CorruptModel: the prefix or the network is not where config.json leads.
    """
    stored = stored_tensors(folder)
    if not config.get("pre_seq_len"):
        return {name: tensor for name, tensor in stored.items() if not name.startswith(PREFIX_TENSORS)}
    beside = folder / PREFIX_FILE
    if beside.is_file():
        stored |= _prefix(file_tensors(beside))
    if not any(name.startswith(PREFIX_TENSORS) for name in stored):
        raise CorruptModel(path=beside, detail="the prefix that config.json asks for is missing")
    if embedding not in stored:
        base = base_folder(folder, config)
        if base is None:
            name = config.get("_name_or_path", "")
            raise CorruptModel(path=folder, detail=f"the network that the prefix is for is not at {name!r}")
        stored = stored_tensors(base) | _prefix(stored)
    return stored


def base_folder(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The folder that `_name_or_path` names, absolute or beside this one; None if it isn't there."""
    name = str(config.get("_name_or_path") or "")
    for place in (Path(name), folder / name, folder.parent / name):
        if name and (place / "config.json").is_file() and place.resolve() != folder.resolve():
            return place
    return None


def _prefix(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """A prefix's tensors under their full names; some scripts save them without the network's."""
    return {
        PREFIX_TENSORS + name.rpartition("prefix_encoder.")[2]: tensor
        for name, tensor in tensors.items()
        if "prefix_encoder." in name or name.startswith(("embedding.", "trans."))
    }
