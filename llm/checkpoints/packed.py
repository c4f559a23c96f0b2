"""Linear layers whose weights stay packed in memory: GPTQ's, and those of ChatGLM's -int4 and -int8 files.

torch's own kernels multiply where their conditions hold; elsewhere weights are unpacked for each product, which is
slower and right on every device. On a CPU the kernels are fast in bfloat16 alone, and unpacked weights in float32 alone
(docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from llm.checkpoints.frozen_product import product
from llm.checkpoints.loading import StoredTensor, build
from llm.errors import UnsupportedModel
from llm.machine.heap import trim

KERNEL_GROUPS = (256, 128, 64, 32)
"""Inputs that may share a scale in torch's 4-bit kernel."""
INT8_GROUP_MULTIPLE = 64
"""What torch's 8-bit kernel asks of the inputs that share a scale."""
INT8_UNPACK_FROM_ROWS = 80
"""From so many tokens on, unpacked 8-bit weights are faster than the kernel."""
ROWS = 64
"""Outputs that are repacked at a time, a block of the kernels': unpacked levels take eight times the room of packed
ones, and what the heap kept of a whole layer's was as large as the model."""
UNPACKED_AT_ONCE = 512
"""Outputs that are unpacked at a time for a product on a CPU, so that it takes little beside the weights."""
ALL = slice(None)


class PackedLinear(nn.Module):
    """x @ weight.T + bias with a weight of shape (outputs, inputs) that is never held unpacked."""

    def __init__(self, bias: torch.Tensor | None, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.bias: torch.Tensor | None
        self.register_buffer("bias", bias)
        self.order: torch.Tensor | None
        self.register_buffer("order", None)
        self.kernel: Int4Kernel | Int8Kernel | None = None

    def weight_of(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor:
        """The weight of some outputs, unpacked, (outputs, inputs)."""
        raise UnsupportedModel(path=type(self).__name__, detail="it has no weight")

    @property
    def outputs(self) -> int:
        """Rows of the weight."""
        raise UnsupportedModel(path=type(self).__name__, detail="it has no rows")

    def group(self) -> int:
        """How many inputs share a scale; 0: no kernel can take this layer."""
        return 0

    def input_order(self) -> torch.Tensor | None:
        """The inputs, those that share a scale beside each other, int64 (inputs,); None: they stand so already."""
        return None

    def levels(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(levels, scales, offsets) of some outputs, for weight = (level - middle) * scale + offset.

        The middle is half of the levels, 8 or 128. levels: int32 from 0, (outputs, inputs in `order`); scales and
        offsets: (inputs / group, outputs).
        """
        raise UnsupportedModel(path=type(self).__name__, detail="it has no levels")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = product(x, self)
        return y if self.bias is None else y + self.bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel is not None:
            return self.kernel(x if self.order is None else x[..., self.order])
        return self._product_on_cpu(x) if x.device.type == "cpu" else functional.linear(x, self.weight_of(x.dtype))

    def product_back(self, gradient: torch.Tensor) -> torch.Tensor:
        if self.kernel is not None:
            raise UnsupportedModel(path=type(self).__name__, detail="repacked weights have no gradient")
        found: torch.Tensor | None = None
        for start in range(0, self.outputs, UNPACKED_AT_ONCE):
            block = slice(start, start + UNPACKED_AT_ONCE)
            part = gradient[..., block].float() @ self.weight_of(torch.float32, block)
            found = part if found is None else found.add_(part)
        return gradient if found is None else found.to(gradient.dtype)

    def _product_on_cpu(self, x: torch.Tensor) -> torch.Tensor:
        y = x.new_empty(*x.shape[:-1], self.outputs)
        rows = x.float()
        for start in range(0, self.outputs, UNPACKED_AT_ONCE):
            block = slice(start, start + UNPACKED_AT_ONCE)
            y[..., block] = rows @ self.weight_of(torch.float32, block).t()
        return y

    def use_kernel(self, dtype: torch.dtype) -> None:
        """Repacks for torch's kernel, if it takes this layer on this device; the file's layout is freed then."""
        kind = next((kind for kind in (Int4Kernel, Int8Kernel) if kind.takes(self, dtype)), None)
        if kind is None:
            return
        self.order = self.input_order()
        self.kernel = kind(self, dtype)
        for name in [name for name in self._buffers if name not in ("bias", "order")]:
            setattr(self, name, None)


class Int4Kernel(nn.Module):
    """torch's `_weight_int4pack_mm`: 4-bit weights, a scale and an offset for each group of inputs."""

    packed: torch.Tensor
    scales_and_offsets: torch.Tensor

    def __init__(self, layer: PackedLinear, dtype: torch.dtype) -> None:
        super().__init__()
        self.group, self.outputs = layer.group(), layer.outputs
        packed, pairs = [], []
        for start in range(0, self.outputs, ROWS):
            levels, scales, offsets = layer.levels(slice(start, min(start + ROWS, self.outputs)))
            packed.append(self._packed(levels))
            pairs.append(torch.stack((scales, offsets), dim=-1).to(dtype))
        self.register_buffer("packed", torch.cat(packed))
        self.register_buffer("scales_and_offsets", torch.cat(pairs, dim=1))

    @staticmethod
    def _packed(levels: torch.Tensor) -> torch.Tensor:
        if levels.device.type == "cpu":
            return torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        pairs = (levels[:, ::2] << 4 | levels[:, 1::2]).to(torch.uint8)
        return torch.ops.aten._convert_weight_to_int4pack(pairs, 8)

    @staticmethod
    def takes(layer: PackedLinear, dtype: torch.dtype) -> bool:
        """Whether the kernel of the layer's device takes it."""
        group = layer.group()
        if layer.bits != 4 or group not in KERNEL_GROUPS or layer.outputs % 16:
            return False
        levels = layer.levels(slice(0, 16))[0]
        if levels.device.type == "cuda":
            modern = torch.cuda.get_device_capability(levels.device)[0] >= 8
            return modern and dtype == torch.bfloat16 and levels.shape[1] % 128 == 0
        return levels.device.type == "cpu" and dtype == torch.bfloat16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if x.device.type == "cpu":
            y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, self.group, self.scales_and_offsets)
        else:
            y = torch.ops.aten._weight_int4pack_mm(rows, self.packed, self.group, self.scales_and_offsets)
        return y.view(*x.shape[:-1], self.outputs)


class Int8Kernel(nn.Module):
    """torch's `_weight_int8pack_mm` on a CPU, for each group of inputs in turn: it knows one scale for each output.

    weight: int8 (groups, outputs, inputs of a group). scales, offsets: (groups, outputs).
    """

    weight: torch.Tensor
    scales: torch.Tensor
    offsets: torch.Tensor | None

    def __init__(self, layer: PackedLinear, dtype: torch.dtype) -> None:
        super().__init__()
        inputs, group = layer.levels(slice(0, 1))[0].shape[1], layer.group()
        weight = torch.empty(inputs // group, layer.outputs, group, dtype=torch.int8)
        scales, offsets = [], []
        for start in range(0, layer.outputs, ROWS):
            rows = slice(start, min(start + ROWS, layer.outputs))
            levels, scale, offset = layer.levels(rows)
            weight[:, rows] = (levels - 128).unflatten(1, (-1, group)).transpose(0, 1)
            scales.append(scale.to(dtype))
            offsets.append(offset)
        self.register_buffer("weight", weight)
        self.register_buffer("scales", torch.cat(scales, dim=1))
        offset = torch.cat(offsets, dim=1)
        self.register_buffer("offsets", offset if offset.any() else None)  # symmetric files have none

    @staticmethod
    def takes(layer: PackedLinear, dtype: torch.dtype) -> bool:
        """Whether the layer stands on a CPU and has what the kernel asks for."""
        group = layer.group()
        if layer.bits != 8 or not group or group % INT8_GROUP_MULTIPLE or dtype != torch.bfloat16:
            return False
        return layer.levels(slice(0, 1))[0].device.type == "cpu"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        groups = rows.unflatten(1, (len(self.weight), -1))
        if self.offsets is None:
            y = torch.zeros(len(rows), self.scales.shape[1])
        else:
            y = groups.sum(dim=2, dtype=torch.float32) @ self.offsets
        if len(rows) < INT8_UNPACK_FROM_ROWS:
            for group, weight, scales in zip(groups.unbind(1), self.weight, self.scales, strict=True):
                y += torch.ops.aten._weight_int8pack_mm(group.contiguous(), weight, scales)
        else:
            rows = rows.float()
            for start in range(0, y.shape[1], UNPACKED_AT_ONCE):
                block = slice(start, start + UNPACKED_AT_ONCE)
                weight = self.weight[:, block].transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
                weight.mul_(self.scales[:, block].t()[..., None])
                y[:, block] += rows @ weight.flatten(1).t()
        return y.to(x.dtype).view(*x.shape[:-1], -1)


class GptqLinear(PackedLinear):
    """GPTQ's layout (AutoGPTQ 0.7, `QuantLinear`).

    qweight int32 (inputs * bits / 32, outputs): successive inputs in a word, lowest bits first. qzeros int32
    (groups, outputs * bits / 32): successive outputs in a word. scales (groups, outputs). g_idx int32
    (inputs,): each input's group. weight[o, i] = scales[g, o] * (q[i, o] - zero[g, o]).

    Args:
        shapes: shape of each tensor that is stored for this layer.
        bits: 2, 4 or 8.
        zero_offset: what the format took from each zero point before storing it.
    """

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor
    g_idx: torch.Tensor

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], bits: int, zero_offset: int) -> None:
        super().__init__(torch.empty(shapes["bias"]) if "bias" in shapes else None, bits)
        self.zero_offset = zero_offset
        for name in ("qweight", "qzeros", "g_idx"):
            self.register_buffer(name, torch.empty(shapes[name], dtype=torch.int32))
        self.register_buffer("scales", torch.empty(shapes["scales"]))

    def weight_of(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor:
        groups = self.g_idx.long()
        scales = self.scales[:, rows].to(dtype)
        weight = _unpack(self.qweight[:, rows], self.bits, dim=0).to(dtype)
        weight.sub_(self._zeros(rows).to(dtype)[groups]).mul_(scales[groups])
        return weight.t()

    @property
    def outputs(self) -> int:
        return self.qweight.shape[1]

    def group(self) -> int:
        inputs, groups = self.g_idx.shape[0], self.scales.shape[0]
        if self.bits == 2 or inputs % groups:
            return 0
        size = inputs // groups
        return size if torch.equal(self.g_idx.long().sort().values, self._in_order(size)) else 0

    def input_order(self) -> torch.Tensor | None:
        groups = self.g_idx.long()
        if torch.equal(groups, self._in_order(self.group())):
            return None
        return groups.argsort(stable=True)  # `desc_act`: quantised, and grouped, by how much an input matters

    def _in_order(self, size: int) -> torch.Tensor:
        return torch.arange(self.g_idx.shape[0], device=self.g_idx.device) // size

    def levels(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        levels = _unpack(self.qweight[:, rows], self.bits, dim=0).t().to(torch.int32)
        levels = (levels if self.order is None else levels[:, self.order]).contiguous()
        scales = self.scales[:, rows].float()
        return levels, scales, scales * (2 ** (self.bits - 1) - self._zeros(rows).float())

    def _zeros(self, rows: slice) -> torch.Tensor:
        start, stop, _ = rows.indices(self.outputs)
        per_word = 32 // self.bits
        first = start // per_word
        zeros = _unpack(self.qzeros[:, first : -(-stop // per_word)], self.bits, dim=1)
        return zeros[:, start - first * per_word : stop - first * per_word] + self.zero_offset


class ChatGLMLinear(PackedLinear):
    """ChatGLM's layout (`quantization.py` of THUDM/chatglm-6b-int4).

    weight int8 (outputs, inputs * bits / 8): for 4 bits two inputs a byte, the first in the upper half, each
    in two's complement. weight_scale (outputs,).
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], bits: int) -> None:
        super().__init__(torch.empty(shapes["bias"]) if "bias" in shapes else None, bits)
        self.register_buffer("weight", torch.empty(shapes["weight"], dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(shapes["weight_scale"]))

    def weight_of(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor:
        return self._signed(self.weight[rows]).to(dtype) * self.weight_scale[rows].to(dtype)[:, None]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def group(self) -> int:
        inputs = self.weight.shape[1] * 8 // self.bits
        return inputs if self.bits == 8 else next((group for group in KERNEL_GROUPS if inputs % group == 0), 0)

    def levels(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        levels = self._signed(self.weight[rows]).to(torch.int32) + 2 ** (self.bits - 1)
        scales = self.weight_scale[rows].float()[None].expand(levels.shape[1] // self.group(), -1)
        return levels, scales, torch.zeros_like(scales)

    def _signed(self, weight: torch.Tensor) -> torch.Tensor:
        if self.bits == 8:
            return weight
        upper, lower = weight >> 4, weight << 4 >> 4
        return torch.stack((upper, lower), dim=-1).flatten(-2)


def _unpack(words: torch.Tensor, bits: int, dim: int) -> torch.Tensor:
    """Unsigned numbers from int32 words, lowest bits first, along a dimension; int16."""
    parts = [(words >> shift & (1 << bits) - 1).to(torch.int16) for shift in range(0, 32, bits)]
    return torch.stack(parts, dim=dim + 1).flatten(dim, dim + 1)


def packed_class(model_class: Any, tensors: Mapping[str, StoredTensor], bits: int, zero_offset: int = 1) -> Any:
    """The model class with packed layers wherever the stored tensors are packed."""

    def __init__(self: Any, config: Any) -> None:
        model_class.__init__(self, config)
        for name in _packed_names(tensors):
            parent, _, child = name.rpartition(".")
            shapes = {key: tensors[f"{name}.{key}"].result_shape for key in _KEYS if f"{name}.{key}" in tensors}
            layer = GptqLinear(shapes, bits, zero_offset) if "qweight" in shapes else ChatGLMLinear(shapes, bits)
            setattr(self.get_submodule(parent), child, layer)

    return type(model_class.__name__, (model_class,), {"__init__": __init__, "__module__": model_class.__module__})


_KEYS = ("qweight", "qzeros", "scales", "g_idx", "weight", "weight_scale", "bias")


def _packed_names(tensors: Mapping[str, StoredTensor]) -> list[str]:
    names = [name.rpartition(".") for name in tensors]
    return [module for module, _, kind in names if kind in ("qweight", "weight_scale")]


def use_kernels(model: nn.Module, dtype: torch.dtype) -> None:
    """Repacks every packed layer that torch's kernel takes."""
    for module in list(model.modules()):
        if isinstance(module, PackedLinear):
            module.use_kernel(dtype)
            trim()


def gptq_format(quantization: Mapping[str, Any], path: Any) -> tuple[int, int]:
    """(bits, zero offset) of a GPTQ `quantization_config`.

    Raises:
        UnsupportedModel: a number of bits that doesn't fill words, or another format.
    """
    bits = int(quantization.get("bits", 4))
    form = quantization.get("checkpoint_format", "gptq")
    if bits not in (2, 4, 8) or form not in ("gptq", "gptq_v2"):
        raise UnsupportedModel(path=path, detail=f"GPTQ with {bits} bits in format {form}")
    return bits, 0 if form == "gptq_v2" else 1


def without_zero_biases(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Drops the biases that GPTQ files hold for layers that have none."""
    modules = set(_packed_names(tensors))
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not (name.endswith(".bias") and name.removesuffix(".bias") in modules and not tensor.read().any())
    }


def build_packed(
    model_class: Any, config: Any, tensors: Mapping[str, StoredTensor], folder: Path, bits: int, **kwargs: Any
) -> Any:
    """`build` for tensors of which some are packed integers; they stay packed, whatever precision is asked for.

    The rest is bfloat16 where the stored precision would do: torch's 4-bit kernels are fast in no other, on a CPU and
    on CUDA cards that have it (8.0 and up), where a float16 product takes eighteen times as long.
    kwargs may also hold `zero_offset`, see `llm.checkpoints.packed.GptqLinear`.
    """
    kwargs.pop("quantization_config", None)
    zero_offset = kwargs.pop("zero_offset", 1)
    if kwargs.get("dtype") in (None, "auto") and _computes_bfloat16(kwargs.get("device_map")):
        kwargs["dtype"] = torch.bfloat16
    model = build(packed_class(model_class, tensors, bits, zero_offset), config, tensors, folder, **kwargs)
    use_kernels(model, model.dtype)
    return model


def _computes_bfloat16(device_map: Any) -> bool:
    """Whether bfloat16 is what the layers' device is fast in."""
    if device_map == {"": "cpu"}:
        return True
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
