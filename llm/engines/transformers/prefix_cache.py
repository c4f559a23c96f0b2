"""Keys and values of answered conversations, kept so that the next turn reads only what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm.engines.transformers.cache import CacheRow, RoomyCache, gather

# Shorter prefixes are computed about as fast as they are copied.
MIN_PREFIX_TOKENS = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    ids: tuple[int, ...]
    cache: RoomyCache
    adapter: Any


class PrefixCache:
    """Bounded by bytes; the least recently used goes first.

    Args:
        limit_bytes: most bytes of keys and values to keep; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: list[_Entry] = []

    @property
    def held_bytes(self) -> int:
        return sum(entry.cache.held_bytes for entry in list(self._entries))

    def find(self, ids: Sequence[int], adapter: Any = None) -> tuple[RoomyCache | None, int]:
        """A copy of the longest kept beginning of `ids` and its length; at least one token is left to compute.

        adapter: what the keys and values were reckoned with, and must be.
        """
        wanted = list(ids)
        best, length = None, 0
        for entry in self._of(adapter):
            common = min(_common_prefix(entry.ids, wanted), len(wanted) - 1)
            if common > length:
                best, length = entry, common
        if best is None or length < MIN_PREFIX_TOKENS:
            return None, 0
        self._entries.remove(best)
        self._entries.append(best)
        return gather([CacheRow(best.cache, 0, length, length)]), length

    def keep(self, ids: Sequence[int], row: CacheRow, adapter: Any = None) -> None:
        """Keeps a copy of one row, which holds the keys and values of `ids`."""
        kept = tuple(ids)
        if len(kept) < MIN_PREFIX_TOKENS or _bytes_of(row) > self.limit_bytes:
            return
        # An entry that the new one continues, or that already holds it, would only take room.
        same = self._of(adapter)
        if any(_common_prefix(entry.ids, kept) == len(kept) for entry in same):
            return
        continued = [entry for entry in same if _common_prefix(entry.ids, kept) == len(entry.ids)]
        self._entries = [entry for entry in self._entries if entry not in continued]
        room_bytes = self.limit_bytes - _bytes_of(row)
        while self._entries and self.held_bytes > room_bytes:
            del self._entries[0]
        self._entries.append(_Entry(kept, gather([row], spare=False), adapter))

    def _of(self, adapter: Any) -> list[_Entry]:
        return [entry for entry in self._entries if entry.adapter == adapter]

    def clear(self) -> None:
        self._entries.clear()


def _bytes_of(row: CacheRow) -> int:
    layers = [layer for layer in row.cache.layers if layer.is_initialized]
    return sum(
        states[0].numel() // max(states.shape[2], 1) * row.tokens * states.element_size()
        for layer in layers
        for states in (layer.keys, layer.values)
    )


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    # By halves: whole slices compare faster than single numbers.
    low, high = 0, min(len(left), len(right))
    left, right = list(left[:high]), list(right[:high])
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
