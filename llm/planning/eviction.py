"""Which loaded models to unload so that another one fits. A pure function; `llm.runtime.handles` acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
"""What names a handle: eviction only hands it back."""


@dataclass(frozen=True, slots=True)
class Holding(Generic[Key]):
    """A loaded model as planning sees it: bytes by device ("cpu", "cuda:0"), when it was used last (any clock)."""

    key: Key
    by_device: Mapping[str, int]
    last_used: float
    busy: bool = False

    def bytes_on(self, device: str) -> int:
        """What it holds on a kind of device: all GPUs count as `cuda`."""
        return sum(size for name, size in self.by_device.items() if name.split(":")[0] == device)


@dataclass(frozen=True, slots=True)
class Room(Generic[Key]):
    """What to unload, in this order. enough False: not even that makes room, `short_bytes` are missing."""

    unload: tuple[Key, ...] = ()
    enough: bool = True
    short_bytes: int = 0


def plan_room(
    needed_bytes: int, available_bytes: int, device: str, held: Sequence[Holding[Key]], keep_models: int = 0
) -> Room[Key]:
    """Idle models to unload, the least recently used first, until `needed_bytes` fit on `device`.

    A model that is answering is never among them. Models that hold nothing on the device stay, except to
    keep to `keep_models` (0: no such bound), which counts the new one. Where even all idle ones are not
    enough, none is unloaded for the sake of memory: it would cost others their model and help nobody.
    """
    idle = sorted((holding for holding in held if not holding.busy), key=lambda holding: holding.last_used)
    too_many = max(0, len(held) + 1 - keep_models) if keep_models else 0
    leaving = list(idle[:too_many])
    free = available_bytes + sum(holding.bytes_on(device) for holding in leaving)
    for holding in idle[len(leaving) :]:
        if free >= needed_bytes:
            break
        if holding.bytes_on(device) > 0:
            leaving.append(holding)
            free += holding.bytes_on(device)
    if free >= needed_bytes:
        return Room(tuple(holding.key for holding in leaving))
    return Room(tuple(holding.key for holding in idle[:too_many]), False, needed_bytes - free)
