"""Looking a checkpoint folder over before loading it, so that damage is named by file and found at once."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.errors import CorruptModel, UnsupportedModel

# Tables of weights that are split over several files, and single files, in the order in which they are preferred.
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dictionary.

    Raises:
        UnsupportedModel: the folder has none, so it is no Hugging Face checkpoint.
        CorruptModel: it isn't a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UnsupportedModel(path=str(folder), detail="the folder has no config.json")
    return _read_json(file)


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights, each looked at: there, and as long as its own header says.

    Raises:
        CorruptModel: one is missing or cut off; names it.
    """
    files = _listed_files(folder)
    for file in files:
        if not file.is_file():
            raise CorruptModel(path=str(file), detail="the file is missing")
        if file.suffix == ".safetensors":
            safetensors_header(file)
        elif not zipfile.is_zipfile(file) and file.stat().st_size < 2**20:
            # Large files that are no archives may be torch's format of before 1.6; loading will tell.
            raise CorruptModel(path=str(file), detail="it is no torch archive; it may be cut off")
        elif not zipfile.is_zipfile(file) and _begins_as_archive(file):
            raise CorruptModel(path=str(file), detail="the file is cut off")
    return files


def count_parameters(files: list[Path]) -> int:
    """Numbers stored in safetensors files; for torch archives half their bytes, as most are 16-bit."""
    total = 0
    for file in files:
        if file.suffix == ".safetensors":
            header = safetensors_header(file)
            total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
        else:
            total += file.stat().st_size // 2
    return total


def safetensors_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: name -> {dtype, shape, data_offsets}.

    Format: 8 bytes little-endian length, that much JSON, then the tensors.

    Raises:
        CorruptModel: the header is damaged or the file's length isn't what it says.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, size):
            raise CorruptModel(path=str(file), detail="it is no safetensors file, or it is cut off")
        try:
            header = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptModel(path=str(file), detail=f"its header is damaged ({error})") from error
    if size != 8 + length + end:
        raise CorruptModel(path=str(file), detail=f"it has {size} bytes and should have {8 + length + end}")
    return header


def _listed_files(folder: Path) -> list[Path]:
    for name in INDEXES:
        single = folder / SINGLE_FILES[INDEXES.index(name)]
        if single.is_file():
            return [single]
        if (folder / name).is_file():
            index = _read_json(folder / name)
            shards = index.get("weight_map")
            if not isinstance(shards, Mapping) or not all(isinstance(shard, str) for shard in shards.values()):
                raise CorruptModel(path=str(folder / name), detail="it has no weight_map")
            names = sorted(set(shards.values()))
            if any(Path(shard).name != shard for shard in names):
                raise CorruptModel(path=str(folder / name), detail="it names files outside of the folder")
            return [folder / shard for shard in names]
    raise CorruptModel(path=str(folder / SINGLE_FILES[0]), detail="the folder has no weights")


def _begins_as_archive(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CorruptModel(path=str(file), detail=f"it is not readable JSON ({error})") from error
    if not isinstance(value, dict):
        raise CorruptModel(path=str(file), detail="it is not a JSON object")
    return value
