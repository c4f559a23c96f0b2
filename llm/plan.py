"""How a model is to be loaded: device, precision, context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

DeviceKind: TypeAlias = Literal["cpu", "cuda", "mps"]
Device: TypeAlias = Literal["auto"] | DeviceKind
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4", "file"]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a model is to be loaded. `reason` says why, for people to read.

    context_tokens: 0 is the engine's choice. precision `file`: as stored (GGUF, GPTQ).
    """

    device: Device = "auto"
    precision: Precision = "auto"
    context_tokens: int = 0
    reason: str = ""


LoadProgress: TypeAlias = Callable[[str, float, float], None]
"""Called with stage, done and total while a model loads."""
