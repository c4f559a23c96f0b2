"""A linear layer of 8-bit or 4-bit weights on a CPU, multiplied by torch's own kernels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from llm.checkpoints.frozen_product import product
from llm.errors import UnsupportedModel

COMPUTE_TYPE = torch.bfloat16
"""The one type in which the kernels are fast."""
GROUP = 32
"""Inputs that share a scale and an offset in 4 bits."""
INPUTS_MULTIPLE = {8: 64, 4: GROUP}
OUTPUTS_MULTIPLE = {8: 1, 4: 16}
"""What the kernels ask of a matrix; smaller ones are filled up with zeros."""
ROUNDED_AT_ONCE = 256
"""Outputs that are rounded at a time, so that loading takes little beside the weights."""
UNPACKED_AT_ONCE = 512
UNPACK_FROM_ROWS = 80
"""From so many tokens on, 8-bit weights are unpacked in blocks and multiplied by BLAS: twice as fast as the kernel."""
LEAST_SCALE = 1e-12


class RoundedLinear(nn.Module):
    """x @ weight.T + bias, with a weight of (outputs, inputs) numbers in 8 or 4 bits.

    8 bits: weight int8 (outputs, inputs), scales bfloat16 (outputs,). 4 bits: weight uint8 in the layout of torch's
    kernel, scales bfloat16 (inputs / 32, outputs, 2): (level - 8) * scale + offset for each group of inputs.

    Args:
        has_bfloat16: whether the processor multiplies bfloat16 in hardware.
        transposed: the files hold the weight as (inputs, outputs), as GPT-2's do.
    """

    weight: nn.Parameter
    scales: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self, inputs: int, outputs: int, has_bias: bool, bits: int, has_bfloat16: bool, transposed: bool = False
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.bits, self.transposed = inputs, outputs, bits, transposed
        self.unpacked_type = COMPUTE_TYPE if has_bfloat16 else torch.float32
        self.more_inputs = -inputs % INPUTS_MULTIPLE[bits]
        self.weight = nn.Parameter(torch.empty((inputs, outputs) if transposed else (outputs, inputs)), False)
        self.register_parameter("scales", None)  # no file holds them, so that they must not be missed there
        self.register_parameter("bias", nn.Parameter(torch.empty(outputs), False) if has_bias else None)

    def take(self, weight: torch.Tensor) -> None:
        """Rounds a weight as the files hold it, and holds it."""
        weight = weight.t() if self.transposed else weight
        parts = [self._rounded_rows(rows) for rows in weight.split(ROUNDED_AT_ONCE)]
        weights, scales = zip(*parts, strict=True)
        self.weight = nn.Parameter(torch.cat(weights), requires_grad=False)
        self.scales = nn.Parameter(torch.cat(scales, dim=0 if self.bits == 8 else 1), requires_grad=False)

    def _rounded_rows(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        more_outputs = -len(rows) % OUTPUTS_MULTIPLE[self.bits]
        values = functional.pad(rows, (0, self.more_inputs, 0, more_outputs)).to(torch.float32, copy=True)
        if self.bits == 8:
            scales = (values.abs().amax(dim=1) / 127).clamp_(min=LEAST_SCALE).to(COMPUTE_TYPE)
            levels = values.div_(scales.float()[:, None]).round_().clamp_(-127, 127)
            return levels.to(torch.int8), scales
        groups = values.unflatten(1, (-1, GROUP))
        lowest, highest = groups.amin(dim=2), groups.amax(dim=2)
        scales = ((highest - lowest) / 15).clamp_(min=LEAST_SCALE).to(COMPUTE_TYPE)
        offsets = (lowest + 8 * scales.float()).to(COMPUTE_TYPE)
        groups.sub_(offsets.float()[..., None]).div_(scales.float()[..., None]).add_(8).round_().clamp_(0, 15)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.to(torch.int32), 1)
        return packed, torch.stack((scales, offsets), dim=-1).transpose(0, 1).contiguous()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = product(x, self)
        return y if self.bias is None else y + self.bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(COMPUTE_TYPE)
        if self.more_inputs:
            rows = functional.pad(rows, (0, self.more_inputs))
        if self.bits == 4:
            y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, GROUP, self.scales)
        elif len(rows) < UNPACK_FROM_ROWS:
            y = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scales)
        else:
            y = self._unpacked_product(rows)
        return y[:, : self.outputs].to(x.dtype).view(*x.shape[:-1], self.outputs)

    def product_back(self, gradient: torch.Tensor) -> torch.Tensor:
        if self.bits == 4:
            raise UnsupportedModel(path=type(self).__name__, detail="gradients go through 8 bits, not 4")
        rows = (gradient.reshape(-1, self.outputs).float() * self.scales.float()).to(self.unpacked_type)
        found = torch.zeros(len(rows), self.weight.shape[1])
        for start in range(0, self.outputs, UNPACKED_AT_ONCE):
            block = slice(start, start + UNPACKED_AT_ONCE)
            found += rows[:, block] @ self.weight[block].to(self.unpacked_type)
        return found[:, : self.inputs].to(gradient.dtype).view(*gradient.shape[:-1], self.inputs)

    def _unpacked_product(self, rows: torch.Tensor) -> torch.Tensor:
        y = rows.new_empty(len(rows), self.outputs)
        rows = rows.to(self.unpacked_type)
        for start in range(0, self.outputs, UNPACKED_AT_ONCE):
            block = slice(start, start + UNPACKED_AT_ONCE)
            y[:, block] = (rows @ self.weight[block].to(self.unpacked_type).t()) * self.scales[block]
        return y
