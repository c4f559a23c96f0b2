"""One packed layer on a CPU: Hearth's product beside a weight that is unpacked in the type that is computed in.

    python -m benchmarks.packed

Random levels, 2816 outputs of 1024 inputs, bfloat16 as files that stay packed compute on a CPU; milliseconds for a
product with so many rows, the median of several, the two ways in turns.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from llm.checkpoints.packed import ChatGLMLinear, GptqLinear, PackedLinear

OUTPUTS, INPUTS, GROUP = 2816, 1024, 128
ROWS = (1, 256)
ROUNDS = 5


def main() -> None:
    print(f"{torch.get_num_threads()} threads, milliseconds")
    print(f"{'layout':30} {'rows':>5} {'Hearth':>8} {'unpacked':>9}")
    for name, layer in layers().items():
        for rows in ROWS:
            ours, unpacked = in_turns(layer, torch.randn(rows, INPUTS, dtype=torch.bfloat16))
            print(f"{name:30} {rows:5} {ours:8.2f} {unpacked:9.1f}", flush=True)


@torch.inference_mode()
def in_turns(layer: PackedLinear, x: torch.Tensor) -> tuple[float, float]:
    """Median milliseconds of the layer as it stands, and of the unpacked product."""
    fast = copy.deepcopy(layer)
    fast.use_kernel(x.dtype)
    ways: list[Callable[[], torch.Tensor]] = [
        lambda: fast(x),
        lambda: functional.linear(x, layer.weight_of(x.dtype)),
    ]
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter()
            way()
            taken.append((time.perf_counter() - began) * 1000)
    ours, unpacked = map(statistics.median, times)
    return ours, unpacked


def layers() -> dict[str, PackedLinear]:
    """A layer of each layout."""
    in_order = torch.arange(INPUTS) // GROUP
    return {
        "GPTQ, 4 bits": gptq(4, in_order),
        "GPTQ, 4 bits, desc_act": gptq(4, in_order[torch.randperm(INPUTS)]),
        "GPTQ, 8 bits": gptq(8, in_order),
        "ChatGLM, 4 bits": chatglm(4),
        "ChatGLM, 8 bits": chatglm(8),
    }


def gptq(bits: int, groups: torch.Tensor) -> PackedLinear:
    count = INPUTS // GROUP
    tensors = {
        "qweight": torch.randint(-(2**31), 2**31, (INPUTS * bits // 32, OUTPUTS)).int(),
        "qzeros": torch.randint(-(2**31), 2**31, (count, OUTPUTS * bits // 32)).int(),
        "scales": torch.rand(count, OUTPUTS),
        "g_idx": groups.int(),
    }
    layer = GptqLinear({name: tuple(tensor.shape) for name, tensor in tensors.items()}, bits, zero_offset=1)
    layer.load_state_dict(tensors)
    return layer


def chatglm(bits: int) -> PackedLinear:
    weight = torch.randint(-128, 128, (OUTPUTS, INPUTS * bits // 8), dtype=torch.int8)
    layer = ChatGLMLinear({"weight": tuple(weight.shape), "weight_scale": (OUTPUTS,)}, bits)
    layer.load_state_dict({"weight": weight, "weight_scale": torch.rand(OUTPUTS)})
    return layer


if __name__ == "__main__":
    main()
