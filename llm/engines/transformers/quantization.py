"""8-bit and 4-bit weights on a CPU: linear layers are rounded as they are read, and torch's own kernels multiply.

On GPUs bitsandbytes does this. On a CPU it unpacks a whole matrix for every product: a token takes ten times as
long, and memory that differs from run to run (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name, should_convert_module
from transformers.utils.quantization_config import QuantizationConfigMixin

from llm.engines.transformers.quantized_linear import RoundedLinear

METHOD = "hearth-rounding"


@register_quantization_config(METHOD)
class RoundingConfig(QuantizationConfigMixin):
    """`from_pretrained`'s `quantization_config` for a CPU.

    Args:
        bits: 8 or 4.
        has_bfloat16: whether the processor multiplies bfloat16 in hardware.
    """

    def __init__(self, bits: int, has_bfloat16: bool = False, **_: Any) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]  # the enumeration has no place for others
        self.bits = bits
        self.has_bfloat16 = has_bfloat16


@register_quantizer(METHOD)
class RoundingQuantizer(HfQuantizer):
    """Puts a `RoundedLinear` in the place of each linear layer but the output's, and rounds each weight once read."""

    quantization_config: RoundingConfig
    requires_calibration = False
    is_trainable = False

    def is_serializable(self) -> bool:
        return False

    def param_needs_quantization(self, model: nn.Module, param_name: str, **_: Any) -> bool:
        layer, name = get_module_from_name(model, param_name)
        return isinstance(layer, RoundedLinear) and name != "bias"

    def get_quantize_ops(self) -> ConversionOps:
        return _Round()

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        exact = self.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
        config = self.quantization_config
        for name, layer in list(model.named_modules()):
            if type(layer) not in (nn.Linear, Conv1D) or not should_convert_module(name, exact):
                continue
            transposed = type(layer) is Conv1D
            inputs, outputs = layer.weight.shape if transposed else layer.weight.shape[::-1]
            with torch.device("meta"):
                rounded = RoundedLinear(
                    inputs, outputs, layer.bias is not None, config.bits, config.has_bfloat16, transposed
                )
            model.set_submodule(name, rounded)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> None:
        # What was not rounded still lies in the mapped file, and one tensor there holds all of the file in memory.
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.device.type == "cpu":
                parameter.data = parameter.data.clone()


class _Round(ConversionOps):
    """A weight as read to a weight as held."""

    def convert(self, input_dict: dict[str, Any], *_: Any, **options: Any) -> dict[str, Any]:
        found: dict[str, torch.Tensor] = {}
        for name, value in input_dict.items():
            layer = get_module_from_name(options["model"], name)[0]
            layer.take(value[0] if isinstance(value, list) else value)
            found[name] = layer.weight
        return found
