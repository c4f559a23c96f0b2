"""Reading published weight files tensor by tensor, and building a transformers model from them.

A family whose tensors have other names, or are cut another way, than the transformers class that runs
it maps `StoredTensor`s: places in a file, which can be renamed and cut before a byte is read. So nothing
is converted on disk and no second copy is held in memory; each tensor is read once, into its place.

Formats: safetensors (github.com/huggingface/safetensors, "Format") and PyTorch's zip files, whose
pickled index is read with `weights_only` and whose data lies uncompressed in the archive.
"""

from __future__ import annotations

import mmap
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from llm.catalogue import json_file, weights
from llm.errors import CorruptModel, UnsupportedModel

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A contiguous tensor in a file, not read yet.

    `shape` is how it is stored; `then` makes of it, after reading, what a model takes.
    """

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    then: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def stored_bytes(self) -> int:
        count = self.dtype.itemsize
        for size in self.shape:
            count *= size
        return count

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape after `then`."""
        if self.then is None:
            return self.shape
        return tuple(self.then(torch.empty(self.shape, dtype=self.dtype, device="meta")).shape)

    def rows(self, start: int, stop: int) -> StoredTensor:
        """Rows `start` to `stop` of the first dimension: only these are read."""
        row_bytes = self.stored_bytes // self.shape[0]
        return replace(self, offset=self.offset + start * row_bytes, shape=(stop - start, *self.shape[1:]))

    def mapped(self, then: Callable[[torch.Tensor], torch.Tensor]) -> StoredTensor:
        """The same tensor with a function applied after reading."""
        before = self.then
        return replace(self, then=then if before is None else lambda tensor: then(before(tensor)))

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def read(self) -> torch.Tensor:
        """The tensor, in memory of its own.

        Raises:
            CorruptModel: the file ends too early.
        """
        if not self.stored_bytes:
            return torch.empty(self.shape, dtype=self.dtype)
        pages = _pages(self.stored_bytes)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            got = file.readinto(pages)
        if got != self.stored_bytes:
            raise CorruptModel(path=self.path, detail="the file is cut short")
        tensor = torch.frombuffer(pages, dtype=self.dtype).view(self.shape)
        return tensor if self.then is None else self.then(tensor)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """transformers reads a lazy tensor as `tensor[...]`."""
        return self.read()[index]


def _pages(size_bytes: int) -> mmap.mmap:
    """Fresh memory that goes back to the system with the tensor in it.

    The heap would keep what a converted tensor leaves behind: a third of a model, measured.
    """
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is not there.

    Raises:
        CorruptModel: the file is no JSON object.
    """
    if not path.is_file():
        return {}
    value = json_file.read_json(path)
    if not isinstance(value, dict):
        raise CorruptModel(path=path, detail="it holds no JSON object")
    return value


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model folder by its published name; safetensors are preferred to .bin.

    Raises:
        CorruptModel: a file is missing, cut short or unreadable. The error names the file.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in weights.weight_files(folder):
        tensors.update(file_tensors(path))
    return tensors


def file_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one .safetensors or .bin file.

    Raises:
        CorruptModel: the file is cut short or is not what its name says.
    """
    tensors = _safetensors_index(path) if path.suffix == ".safetensors" else _torch_index(path)
    size = path.stat().st_size
    for name, tensor in tensors.items():
        if tensor.offset + tensor.stored_bytes > size:
            raise CorruptModel(path=path, detail=f"the file is cut short: {name} is not all there")
    return tensors


def _safetensors_index(path: Path) -> dict[str, StoredTensor]:
    places = weights.tensor_places(path)
    unknown = sorted({place.dtype for place in places.values()} - _SAFETENSORS_DTYPES.keys())
    if unknown:
        raise UnsupportedModel(path=path, detail=f"its tensors are of type {unknown[0]}")
    return {
        name: StoredTensor(path, place.start, _SAFETENSORS_DTYPES[place.dtype], place.shape)
        for name, place in places.items()
    }


def _torch_index(path: Path) -> dict[str, StoredTensor]:
    """Places of the tensors in a PyTorch zip file. torch tells them when it loads under fake tensors."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    if not zipfile.is_zipfile(path):
        raise CorruptModel(path=path, detail="the file is cut short, or not a PyTorch weight file")
    try:
        with FakeTensorMode():
            state = torch.load(path, weights_only=True)
    except Exception as error:  # whatever a damaged pickle makes torch raise
        raise CorruptModel(path=path, detail=str(error).splitlines()[0]) from error
    tensors = {}
    for name, tensor in state.items():
        start = tensor.untyped_storage()._checkpoint_offset
        place = start + tensor.storage_offset() * tensor.dtype.itemsize
        if tensor.is_contiguous():
            tensors[name] = StoredTensor(path, place, tensor.dtype, tuple(tensor.shape))
        elif tensor.dim() == 2 and tensor.t().is_contiguous():
            tensors[name] = StoredTensor(path, place, tensor.dtype, tuple(tensor.t().shape), torch.t)
        else:
            raise UnsupportedModel(path=path, detail=f"{name} is stored with gaps")
    return tensors


def split_rows(tensor: StoredTensor, names: Iterable[str], sizes: Iterable[int]) -> dict[str, StoredTensor]:
    """Cuts a fused tensor along its first dimension.

    Raises:
        CorruptModel: the sizes don't add up to what is stored.
    """
    parts, start = {}, 0
    for name, size in zip(names, sizes, strict=True):
        parts[name] = tensor.rows(start, start + size)
        start += size
    if start != tensor.shape[0]:
        raise CorruptModel(path=tensor.path, detail=f"{tensor.shape[0]} rows where config.json asks for {start}")
    return parts


def build(model_class: Any, config: Any, tensors: Mapping[str, StoredTensor], folder: Path, **kwargs: Any) -> Any:
    """A transformers model in eval mode, from its configuration and its tensors by its own names.

    kwargs are `from_pretrained`'s: dtype, device_map, quantization_config, attn_implementation.

    Raises:
        CorruptModel: a tensor is missing or has another shape than config.json asks for.
    """
    from transformers import GenerationConfig

    if kwargs.get("dtype") in (None, "auto"):
        kwargs["dtype"] = getattr(config, "dtype", None) or stored_dtype(tensors)
    model, report = model_class.from_pretrained(
        None, config=config, state_dict=dict(tensors), output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
    )
    for name, stored, expected in sorted(report["mismatched_keys"]):
        path = tensors[name].path if name in tensors else folder
        raise CorruptModel(path=path, detail=f"{name} is {tuple(stored)} where config.json asks for {tuple(expected)}")
    missing = sorted(report["missing_keys"])
    if missing:
        raise CorruptModel(path=folder, detail=f"{len(missing)} tensors are missing, the first is {missing[0]}")
    model.name_or_path = model.config._name_or_path = str(folder)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def stored_dtype(tensors: Mapping[str, StoredTensor]) -> torch.dtype:
    """The floating dtype that holds the most bytes."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        if tensor.is_floating_point():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.stored_bytes
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


@cache
def dtype_of(name: str | None) -> torch.dtype | None:
    """The dtype that config.json names ("float16", "torch.bfloat16")."""
    dtype = getattr(torch, (name or "").removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else None
