"""The one reader of weight files: which files of a folder hold a model's weights, and what their headers say.

Catalogue, planning and engines ask here, and what is chosen is what transformers' `from_pretrained` takes. Formats:
safetensors (https://huggingface.co/docs/safetensors: eight bytes of length, JSON, then the tensors) and PyTorch's
files, which are not opened here beyond their first bytes.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.catalogue.json_file import POINTER, is_pointer, read_json
from llm.errors import CorruptModel, ModelError, UnsupportedModel

_CHOICES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""A whole file before an index, which may be left over from an older version; safetensors before pickles."""
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_SHARD = re.compile(r"(?:model|pytorch_model)-\d+-of-(\d+)\.(?:safetensors|bin)")
_FOREIGN = {
    "consolidated*": "its weights are in the layout of the maker's own program, and those for transformers are missing",
    "*.h5": "its weights are TensorFlow's",
    "*.msgpack": "its weights are Flax's",
}


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor in a safetensors file: `start` and `end` count bytes from the file's begin."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def weight_files(folder: Path) -> list[Path]:
    """The files with a folder's weights, each of them there.

    Raises:
        CorruptModel: there are none, or one that the index names is missing or was never fetched.
        UnsupportedModel: there are some, of an adapter or for another program.
    """
    for single, index in _CHOICES:
        if (folder / single).is_file():
            files = [folder / single]
        elif (folder / index).is_file():
            files = _indexed(folder / index)
        else:
            continue
        for file in files:
            if not file.is_file():
                raise CorruptModel(path=str(folder), detail=f"{file.name} is missing")
            if is_pointer(file):
                raise CorruptModel(path=str(file), detail=POINTER)
        return files
    raise _nothing_to_read(folder)


def check_weights(files: Sequence[Path]) -> None:
    """Looks at each file as far as it tells itself whether it is whole.

    Raises:
        CorruptModel: one is cut short or not what its name says; names it.
    """
    for file in files:
        if file.suffix == ".safetensors":
            tensor_places(file)
        elif not zipfile.is_zipfile(file):
            with file.open("rb") as stream:
                begins_as_archive = stream.read(4) == b"PK\x03\x04"
            # Large files that are no archives may be torch's format of before 1.6; loading will tell.
            if begins_as_archive:
                raise CorruptModel(path=str(file), detail="it is cut short")
            if file.stat().st_size < 1 << 20:
                raise CorruptModel(path=str(file), detail="it is no torch archive, or cut short")


def count_parameters(files: Sequence[Path]) -> int:
    """How many numbers the files hold; 0 when they are pickles. Packed integers (GPTQ's ...) count as stored.

    Raises:
        CorruptModel: a header cannot be read, or a file is shorter than its tensors.
    """
    if any(file.suffix != ".safetensors" for file in files):
        return 0
    return sum(math.prod(place.shape) for file in files for place in tensor_places(file).values())


def tensor_places(path: Path) -> dict[str, TensorPlace]:
    """The tensors of a safetensors file by name, from its header.

    Raises:
        CorruptModel: the header cannot be read, or the file isn't as long as it says.
    """
    size_bytes = path.stat().st_size
    if is_pointer(path):
        raise CorruptModel(path=str(path), detail=POINTER)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size_bytes - 8, _MAX_HEADER_BYTES):
            raise CorruptModel(path=str(path), detail="it is not a safetensors file or is cut short")
        try:
            header = json.loads(file.read(length))
            places = {name: _place(value, 8 + length) for name, value in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CorruptModel(path=str(path), detail=f"its header is damaged ({error})") from error
    end = max((place.end for place in places.values()), default=8 + length)
    if end > size_bytes:
        raise CorruptModel(path=str(path), detail=f"it is cut short: {size_bytes} bytes of {end} are there")
    if end < size_bytes:
        raise CorruptModel(path=str(path), detail=f"it has {size_bytes} bytes and should have {end}")
    return places


def _place(value: Any, begin: int) -> TensorPlace:
    dtype, shape, (start, end) = value["dtype"], value["shape"], value["data_offsets"]
    counts = [*shape, start, end]
    if not isinstance(dtype, str) or not all(type(n) is int and 0 <= n < 1 << 63 for n in counts) or start > end:
        raise ValueError("a tensor's type, shape or place is none")
    if dtype in _ITEM_BYTES and math.prod(shape) * _ITEM_BYTES[dtype] != end - start:
        raise ValueError(f"{end - start} bytes are no {dtype} of shape {shape}")
    return TensorPlace(dtype, tuple(shape), begin + start, begin + end)


def _indexed(index: Path) -> list[Path]:
    """The files that an index names, in the order of their names."""
    value = read_json(index)
    shards = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise CorruptModel(path=str(index), detail="it has no weight_map")
    names = sorted(set(shards.values()))
    if any(Path(name).name != name or name in ("", ".", "..") for name in names):
        raise CorruptModel(path=str(index), detail="it names files outside of the folder")
    return [index.parent / name for name in names]


def _nothing_to_read(folder: Path) -> ModelError:
    """Why a folder without readable weights is none, by what lies there instead."""
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    for shard in filter(None, map(_SHARD.fullmatch, sorted(names))):
        there, of = len([name for name in names if _SHARD.fullmatch(name)]), int(shard[1])
        detail = f"{there} of {of} weight files are there" if there < of else "the index of its weight files is missing"
        return CorruptModel(path=str(folder), detail=detail)
    if "adapter_config.json" in names:
        return UnsupportedModel(path=str(folder), detail=f"it is an adapter{_base_of(folder)}, not a model by itself")
    for pattern, detail in _FOREIGN.items():
        if any(folder.glob(pattern)):
            return UnsupportedModel(path=str(folder), detail=detail)
    return CorruptModel(
        path=str(folder), detail="it has no weights (model.safetensors, pytorch_model.bin or their index)"
    )


def _base_of(folder: Path) -> str:
    try:
        settings = read_json(folder / "adapter_config.json")
    except CorruptModel:
        return ""
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    return f" for {base}" if isinstance(base, str) and base else ""
