"""LoRA adapters as llama.cpp reads them: the file that `convert_lora_to_gguf.py` of llama.cpp writes.

Tensors have the names of the base model's file with `.lora_a` (rank, in) and `.lora_b` (out, rank); llama.cpp
multiplies by alpha / rank, so that rsLoRA's scale is written as another alpha.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from llm.catalogue import gguf as header_reader
from llm.catalogue.adapters import WEIGHTS, lora_scaling, lora_settings
from llm.errors import AdapterRefused

PERMUTED = frozenset({"llama"})
"""Architectures whose rows of queries and keys llama.cpp has in another order: halves of a head interleaved."""
KNOWN = PERMUTED | {"qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mistral3"}
PEFT = "base_model.model."

Matrix = NDArray[numpy.float32]


def gguf_lora(folder: Path, base: Path) -> bytes:
    """An adapter in peft's layout as a GGUF file for a base model's .gguf.

    Raises:
        AdapterRefused: llama.cpp cannot express it, or the base has no such tensors.
        CorruptModel: a file is damaged.
    """
    import gguf

    header = header_reader.read_header(base)
    settings = lora_settings(folder)
    with tempfile.TemporaryDirectory(prefix="hearth-") as place:
        file = Path(place) / "adapter.gguf"
        writer = gguf.GGUFWriter(file, header.architecture)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora_scaling(settings) * settings["r"])
        for name, (a, b) in matrices(folder, header).items():
            writer.add_tensor(f"{name}.lora_a", numpy.ascontiguousarray(a))
            writer.add_tensor(f"{name}.lora_b", numpy.ascontiguousarray(b))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def matrices(folder: Path, header: header_reader.GgufHeader) -> dict[str, tuple[Matrix, Matrix]]:
    """An adapter's matrices A (rank, in) and B (out, rank) by the names of a GGUF's tensors, its rows in their order.

    Raises:
        AdapterRefused: as `gguf_lora`.
    """
    from safetensors.numpy import load_file

    _check(folder, lora_settings(folder), header)
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    found: dict[str, tuple[Matrix, Matrix]] = {}
    for layer, a, b in _pairs(folder, load_file(folder / WEIGHTS)):
        name = _gguf_name(layer, header)
        if name not in shapes or shapes[name] != (a.shape[1], b.shape[0]):
            raise _refusal(folder, f"{header.path.name} has no tensor of that shape for {layer}")
        if header.architecture in PERMUTED and ("attn_q." in name or "attn_k." in name):
            shape = header.shape
            b = permuted(b, shape.heads if "attn_q." in name else shape.kv_heads or shape.heads)
        found[name] = (a, b)
    return found


def permuted(rows: Matrix, heads: int) -> Matrix:
    """Rows (out, n) of a query or key matrix in llama.cpp's order, head by head."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _check(folder: Path, settings: Mapping[str, Any], header: header_reader.GgufHeader) -> None:
    if header.architecture not in KNOWN:
        raise _refusal(folder, f"llama.cpp's adapters of {header.architecture} models are not known here")
    if settings.get("use_dora"):
        raise _refusal(folder, "llama.cpp knows no DoRA; merge it into the model, or train without it")
    if settings.get("modules_to_save") or settings.get("bias", "none") != "none":
        raise _refusal(folder, "it changes whole layers beside its LoRA, which llama.cpp's adapters cannot")


def _pairs(folder: Path, tensors: Mapping[str, Any]) -> Iterator[tuple[str, Matrix, Matrix]]:
    for key, value in tensors.items():
        if key.endswith(".lora_A.weight"):
            stem = key.removesuffix(".lora_A.weight")
            other = tensors.get(f"{stem}.lora_B.weight")
            if other is None:
                raise _refusal(folder, f"half of what {stem} needs is missing")
            yield stem.removeprefix(PEFT), value.astype(numpy.float32), other.astype(numpy.float32)
        elif not key.endswith(".lora_B.weight"):
            raise _refusal(folder, f"llama.cpp's adapters have no place for {key}")


def _gguf_name(layer: str, header: header_reader.GgufHeader) -> str:
    import gguf

    architecture = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == header.architecture)
    names = gguf.get_tensor_name_map(architecture, header.shape.layers)
    return f"{names.get_name(layer) or layer}.weight"


def _refusal(folder: Path, detail: str) -> AdapterRefused:
    return AdapterRefused(adapter=folder.name, model="llama.cpp", detail=detail)
