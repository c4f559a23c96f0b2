"""How fast this machine is where it counts for models: reading memory, and multiplying matrices.

Run in a process of its own (`llm.engines.probes.probe("self_test")`), with one BLAS thread, so that the
threads counted here are the only ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from llm.machine.hardware import hardware

READ_BYTES = 64 << 20
"""Per thread; several times any cache that a core has for itself."""
MATRIX = 384
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Speed:
    """read_bytes_per_s: memory read by all threads together. flops: float32 operations a second, together."""

    read_bytes_per_s: float
    flops: float
    threads: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure() -> Speed:
    """Measures for about 5 seconds. The best of several rounds counts: whatever else runs only takes away."""
    import numpy as np

    threads = min(hardware().usable_cores, hardware().physical_cores)
    blocks = [np.ones(READ_BYTES // 4, dtype=np.float32) for _ in range(threads)]
    matrices = [np.ones((MATRIX, MATRIX), dtype=np.float32) for _ in range(threads)]

    def read(index: int) -> int:
        for _ in range(3):
            np.dot(blocks[index], blocks[index])
        return 3 * READ_BYTES

    def multiply(index: int) -> int:
        for _ in range(12):
            np.dot(matrices[index], matrices[index])
        return 12 * 2 * MATRIX**3

    with ThreadPoolExecutor(max_workers=threads) as pool:
        return Speed(_best(pool, read, threads), _best(pool, multiply, threads), threads)


def _best(pool: ThreadPoolExecutor, work: Callable[[int], int], threads: int) -> float:
    rates = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        done = sum(pool.map(work, range(threads)))
        rates.append(done / (time.perf_counter() - begin))
    return max(rates)
