"""Which device and precision to load with, and why, as text for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from llm.errors import MissingPackage, UnsupportedModel
from llm.plan import LoadPlan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Share of free memory that weights may take; the rest is for caches and activations.
WEIGHTS_SHARE = 0.8
# Below this, float32 costs little on a CPU and spares every question of rounding.
SMALL_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """What is known of a checkpoint's weights before loading: their count and how they are stored.

    parameters: 0 is unknown. stored_quantised: packed to few bits already (GPTQ, bitsandbytes ...).
    """

    parameters: int
    stored_quantised: bool = False


def resolve(plan: LoadPlan, weights: Weights, path: str) -> LoadPlan:
    """The plan with device and precision decided, and the reasons added to its own.

    Raises:
        UnsupportedModel: the device asked for isn't there, or doesn't run the precision asked for.
        MissingPackage: 8-bit or 4-bit was asked for on a GPU and bitsandbytes is not installed.
    """
    device, device_reason = _device(plan, path)
    precision, precision_reason = _precision(plan, weights, device)
    if precision in ("int8", "int4"):
        if device == "mps":
            raise UnsupportedModel(path=path, detail=f"{precision} does not run on Apple GPUs; choose float16")
        if device == "cuda":
            _require_bitsandbytes()
    reason = " ".join(text for text in (plan.reason, device_reason, precision_reason) if text)
    return replace(plan, device=device, precision=precision, reason=reason)  # type: ignore[arg-type]


def load_arguments(plan: LoadPlan) -> Mapping[str, Any]:
    """`from_pretrained`'s arguments for a resolved plan: dtype, device_map, quantization_config."""
    arguments: dict[str, Any] = {"device_map": "auto" if plan.device == "cuda" else {"": plan.device}}
    if plan.precision in DTYPES:
        arguments["dtype"] = DTYPES[plan.precision]
    elif plan.precision == "file":
        arguments["dtype"] = "auto"
    elif plan.device == "cuda":
        from transformers import BitsAndBytesConfig

        arguments["dtype"] = compute = _sixteen_bit(plan.device)
        if plan.precision == "int8":
            arguments["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        else:
            arguments["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
            )
    else:
        from llm.engines.transformers.quantization import RoundingConfig
        from llm.engines.transformers.quantized_linear import COMPUTE_TYPE

        arguments["dtype"] = COMPUTE_TYPE
        bits = 8 if plan.precision == "int8" else 4
        arguments["quantization_config"] = RoundingConfig(bits, has_bfloat16_instructions())
    return arguments


def free_bytes(device: str) -> int:
    """Memory that is free now on the device; with several GPUs, on all of them together."""
    if device == "cuda":
        return sum(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
    return psutil.virtual_memory().available


def _device(plan: LoadPlan, path: str) -> tuple[str, str]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if plan.device != "auto":
        if not there[plan.device]:
            raise UnsupportedModel(path=path, detail=f"device {plan.device} was asked for and torch finds none")
        return plan.device, f"On {plan.device}, as asked."
    if there["cuda"]:
        return "cuda", f"On the GPU that was found ({torch.cuda.get_device_name(0)})."
    if there["mps"]:
        return "mps", "On the Apple GPU that was found."
    return "cpu", "On the CPU, as torch finds no GPU."


def _precision(plan: LoadPlan, weights: Weights, device: str) -> tuple[str, str]:
    if weights.stored_quantised:
        packed = "Weights stay packed as they are stored"
        if plan.precision in DTYPES:
            return plan.precision, f"{packed}; computed in {plan.precision}, as asked."
        if plan.precision == "auto" and device == "cpu" and 0 < weights.parameters < SMALL_PARAMETERS:
            return "float32", f"{packed}; computed in float32, as so small a model loses nothing by being exact."
        return "file", f"{packed}."
    if plan.precision != "auto":
        return plan.precision, f"{plan.precision}, as asked."
    if device == "cpu" and 0 < weights.parameters < SMALL_PARAMETERS:
        return "float32", "float32, as so small a model loses nothing by being exact."
    free = free_bytes(device) * WEIGHTS_SHARE
    gigabytes = f"{free_bytes(device) / 1e9:.1f} GB are free"
    if device == "cpu":
        half, half_reason = _cpu_half(weights, free, gigabytes)
    else:
        half = str(_sixteen_bit(device)).removeprefix("torch.")
        half_reason = f"{half}, the fastest 16-bit format of this GPU."
    if weights.parameters * DTYPES[half].itemsize <= free or device == "mps":
        return half, half_reason
    if weights.parameters <= free:
        return "int8", f"8-bit, as 16-bit weights don't fit ({gigabytes})."
    return "int4", f"4-bit, as larger weights don't fit ({gigabytes})."


def _cpu_half(weights: Weights, free: float, gigabytes: str) -> tuple[str, str]:
    if has_bfloat16_instructions():
        return "bfloat16", "bfloat16, which this CPU computes with directly and which halves the memory to read."
    if weights.parameters * 4 <= free:
        return "float32", "float32, as this CPU has no instructions for 16-bit numbers."
    return "bfloat16", f"bfloat16, as float32 weights don't fit ({gigabytes})."


def has_bfloat16_instructions() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX); elsewhere it is emulated, slowly."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def _sixteen_bit(device: str) -> torch.dtype:
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def _require_bitsandbytes() -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingPackage(package="bitsandbytes") from error
