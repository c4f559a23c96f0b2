"""An adapter made one with its model's weights: summed in float32, rounded once to their own kind."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from llm.catalogue import gguf as header_reader
from llm.catalogue.adapters import WEIGHTS, lora_scaling, lora_settings
from llm.catalogue.weights import weight_files
from llm.errors import AdapterRefused
from llm.finetune.gguf_lora import PEFT, matrices

Progress = Callable[[int, int], None]
"""Called with how many tensors are done, and of how many."""
_BESIDE = ("*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "LICENSE*", "NOTICE*")
"""What a model folder needs beside its weights."""


@dataclass(slots=True)
class _Part:
    """What is added to one layer's weight, and DoRA's lengths."""

    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    lengths: torch.Tensor | None = None


@dataclass(slots=True)
class _Lora:
    folder: Path
    scaling: float
    parts: dict[str, _Part] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Lora:
        from safetensors.torch import load_file

        settings = lora_settings(folder)
        lora = cls(folder, lora_scaling(settings))
        if settings.get("modules_to_save") or settings.get("bias", "none") != "none":
            raise _refusal(folder, "it changes whole layers beside its LoRA")
        endings = {".lora_A.weight": "a", ".lora_B.weight": "b", ".lora_magnitude_vector": "lengths"}
        for key, tensor in load_file(folder / WEIGHTS).items():
            ending = next((ending for ending in endings if key.endswith(ending)), None)
            if ending is None:
                raise _refusal(folder, f"there is no place in the weights for {key}")
            part = lora.parts.setdefault(key.removesuffix(ending).removeprefix(PEFT), _Part())
            setattr(part, endings[ending], tensor.float())
        return lora

    def merged(self, layer: str, weight: torch.Tensor) -> torch.Tensor:
        """A layer's weight with what was learnt, in float32."""
        part = self.parts[layer]
        if part.a is None or part.b is None or (part.b.shape[0], part.a.shape[1]) != tuple(weight.shape):
            raise _refusal(self.folder, f"{layer} has another shape")
        summed: torch.Tensor = weight.float() + self.scaling * (part.b @ part.a)
        if part.lengths is None:
            return summed
        lengths: torch.Tensor = part.lengths / torch.linalg.vector_norm(summed, dim=1)
        return summed * lengths[:, None]


def merge_checkpoint(base: Path, adapter: Path, out: Path, progress: Progress = lambda done, total: None) -> Path:
    """Writes a model folder of the base's weights with an adapter's; the base's other files come along.

    Raises:
        AdapterRefused: the base has no such tensors, or they are packed in few bits.
        CorruptModel: a file is damaged.
        OSError: the disk is full or cannot be written.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    lora = _Lora.read(adapter)
    files = weight_files(base)
    if any(file.suffix != ".safetensors" for file in files):
        raise _refusal(adapter, "the model's weights are pickles; merging needs safetensors")
    making = out.with_name(f".{out.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    left = set(lora.parts)
    try:
        for pattern in _BESIDE:
            for file in base.glob(pattern):
                shutil.copyfile(file, making / file.name)
        total = sum(_count(file) for file in files)
        done = 0
        for file in files:
            tensors = {}
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 - it is no mapping
                    tensor = stored.get_tensor(name)
                    layer = name.removesuffix(".weight")
                    if layer in lora.parts:
                        if not tensor.is_floating_point():
                            raise _refusal(adapter, f"{name} is packed in few bits")
                        tensor = lora.merged(layer, tensor).to(tensor.dtype)
                        left.discard(layer)
                    tensors[name] = tensor
                    done += 1
                    progress(done, total)
            save_file(tensors, making / file.name, metadata={"format": "pt"})
        if left:
            raise _refusal(adapter, f"the model's files have no weight for {min(left)}")
        shutil.rmtree(out, ignore_errors=True)
        making.rename(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return out


def merge_gguf(base: Path, adapter: Path, out: Path, progress: Progress = lambda done, total: None) -> Path:
    """Writes a .gguf of the base's tensors with an adapter's.

    Tensors that change are kept in 8 bits, or in 16 or 32 where the base has them so; all else is copied as it is.

    Raises:
        AdapterRefused: the base has no such tensors.
        CorruptModel: a file is damaged.
        OSError: the disk is full or cannot be written.
    """
    import gguf

    header = header_reader.read_header(base)
    changes = matrices(adapter, header)
    scaling = numpy.float32(lora_scaling(lora_settings(adapter)))
    reader = gguf.GGUFReader(base)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merging-") as folder:
        making = Path(folder) / out.name
        writer = gguf.GGUFWriter(making, header.architecture)
        for key, values in _fields(reader):
            writer.add_key_value(key, *values)
        kinds = {tensor.name: _kind_after(tensor.tensor_type, tensor.name in changes) for tensor in reader.tensors}
        for tensor in reader.tensors:
            block, block_bytes = gguf.GGML_QUANT_SIZES[kinds[tensor.name]]
            shape = [int(length) for length in reversed(tensor.shape)]
            size_bytes = int(tensor.n_elements) // block * block_bytes
            writer.add_tensor_info(tensor.name, shape, numpy.dtype(numpy.float32), size_bytes, kinds[tensor.name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(reader.tensors, start=1):
            data = tensor.data
            if tensor.name in changes:
                a, b = changes[tensor.name]
                weight = gguf.dequantize(data, tensor.tensor_type) + scaling * (b @ a)
                data = gguf.quantize(weight.astype(numpy.float32), kinds[tensor.name])
            writer.write_tensor_data(data)
            progress(done, len(reader.tensors))
        writer.close()
        making.replace(out)
    return out


def _kind_after(kind: Any, changed: bool) -> Any:
    """The type of a tensor in the merged file."""
    import gguf

    types = gguf.GGMLQuantizationType
    return types.Q8_0 if changed and kind not in (types.F32, types.F16, types.BF16, types.Q8_0) else kind


def _fields(reader: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The base's own keys with their values as a writer takes them."""
    import gguf

    for field_ in reader.fields.values():
        if field_.name.startswith("GGUF.") or field_.name == "general.architecture":  # written by themselves
            continue
        kind = field_.types[0]
        sub = field_.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        yield field_.name, (field_.contents(), kind, sub)


def _count(file: Path) -> int:
    with file.open("rb") as stream:
        header: Mapping[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return len(header) - ("__metadata__" in header)


def _refusal(folder: Path, detail: str) -> AdapterRefused:
    return AdapterRefused(adapter=folder.name, model="the model", detail=detail)
