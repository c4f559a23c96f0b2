"""Key/value caches of several answers in one tensor, right-aligned, with room to grow.

transformers' `DynamicCache` copies the whole cache for every token; here a step writes its keys and values
into spare room, and memory is moved only when the room is used up or somebody joins or leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

MIN_SPARE_TOKENS = 64


class RoomyLayer(DynamicLayer):
    """One layer's keys (rows, heads, tokens, key size) and values (rows, heads, tokens, value size).

    `keys` and `values` are views of the used part of larger buffers. Sliding-window layers keep all their
    tokens, so that a cache can be cut back to any length; the attention mask does the sliding.
    """

    def __init__(self, **_: object) -> None:
        super().__init__()
        self._key_room: torch.Tensor | None = None
        self._value_room: torch.Tensor | None = None

    def adopt(self, keys: torch.Tensor, values: torch.Tensor, used_tokens: int) -> None:
        """Takes buffers of which the first `used_tokens` tokens are in use."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._key_room, self._value_room = keys, values
        self._show(used_tokens)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if self._key_room is None or end > self._key_room.shape[-2]:
            self._grow(key_states, value_states, begin, end)
        self._key_room[:, :, begin:end] = key_states  # type: ignore[index]
        self._value_room[:, :, begin:end] = value_states  # type: ignore[index]
        self._show(end)
        return self.keys, self.values  # type: ignore[return-value]

    def cut(self, tokens: int) -> None:
        """Forgets everything after the first `tokens` tokens; costs nothing."""
        if self.is_initialized:
            self._show(tokens)

    def drop_row(self, row: int) -> None:
        """Forgets one row; the last one takes its place. Needs no memory, so it cannot fail for want of it."""
        if self._key_room is None or self._value_room is None:
            return
        last = self._key_room.shape[0] - 1
        if row != last:
            self._key_room[row] = self._key_room[last]
            self._value_room[row] = self._value_room[last]
        tokens = self.get_seq_length()
        self._key_room, self._value_room = self._key_room[:last], self._value_room[:last]
        self._show(tokens)

    def trim_left(self, tokens: int) -> None:
        """Forgets the first `tokens` tokens of every row."""
        if self._key_room is None or self._value_room is None:
            return
        left = self.get_seq_length() - tokens
        self._key_room, self._value_room = self._key_room[:, :, tokens:], self._value_room[:, :, tokens:]
        self._show(left)

    @property
    def held_bytes(self) -> int:
        rooms = (self._key_room, self._value_room)
        # By storage: what was dropped or trimmed is held until the room is made anew.
        return sum(room.untyped_storage().nbytes() for room in rooms if room is not None)

    def _show(self, tokens: int) -> None:
        self.keys = self._key_room[:, :, :tokens]  # type: ignore[index]
        self.values = self._value_room[:, :, :tokens]  # type: ignore[index]

    def _grow(self, key_states: torch.Tensor, value_states: torch.Tensor, begin: int, end: int) -> None:
        room_tokens = with_spare(end)
        rooms = []
        for states, old in ((key_states, self._key_room), (value_states, self._value_room)):
            room = states.new_empty((*states.shape[:2], room_tokens, states.shape[-1]))
            if old is not None:
                room[:, :, :begin] = old[:, :, :begin]
            rooms.append(room)
        self.adopt(rooms[0], rooms[1], begin)


class RoomyCache(Cache):
    """A cache of `RoomyLayer`s, made as a model asks for them."""

    layers: list[Any]  # of RoomyLayer; the base class has a list of every kind that there is

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RoomyLayer)

    @property
    def held_bytes(self) -> int:
        return sum(layer.held_bytes for layer in self.layers)

    def cut(self, tokens: int) -> None:
        """Forgets everything after the first `tokens` tokens, in every layer.

        Also puts layers right that an error left with different lengths.
        """
        for layer in self.layers:
            layer.cut(min(tokens, layer.get_seq_length()))

    def drop_row(self, row: int) -> None:
        """Forgets one row; the last one takes its place."""
        for layer in self.layers:
            layer.drop_row(row)

    def trim_left(self, tokens: int) -> None:
        """Forgets the first `tokens` tokens of every row."""
        for layer in self.layers:
            layer.trim_left(tokens)


@dataclass(frozen=True, slots=True)
class CacheRow:
    """The last `tokens` tokens, up to `end`, of one row of a cache. `end` None is the cache's own end."""

    cache: RoomyCache
    row: int
    tokens: int
    end: int | None = None


def gather(rows: Sequence[CacheRow], spare: bool = True) -> RoomyCache:
    """A new cache of the rows, right-aligned; what is left of a shorter row is zeros, to be masked.

    Zeros and not leftovers: a masked NaN would still spoil the attention's sum.
    """
    longest = max(row.tokens for row in rows)
    room_tokens = with_spare(longest) if spare else longest
    gathered = RoomyCache()
    for index in range(len(rows[0].cache.layers)):
        layer = RoomyLayer()
        gathered.layers.append(layer)
        sources = [row.cache.layers[index] for row in rows]
        if not sources[0].is_initialized:  # a layer that shares another one's keys and values
            continue
        keys = _gather_tensor([source.keys for source in sources], rows, longest, room_tokens)
        values = _gather_tensor([source.values for source in sources], rows, longest, room_tokens)
        layer.adopt(keys, values, longest)
    return gathered


def with_spare(tokens: int) -> int:
    """Room for `tokens` and a while more: an eighth, so that growing costs a constant per token."""
    return tokens + max(MIN_SPARE_TOKENS, tokens // 8)


def _gather_tensor(
    states: Sequence[torch.Tensor], rows: Sequence[CacheRow], longest: int, room_tokens: int
) -> torch.Tensor:
    first = states[0]
    out = first.new_empty((len(rows), first.shape[1], room_tokens, first.shape[-1]))
    for index, (state, row) in enumerate(zip(states, rows, strict=True)):
        end = state.shape[2] if row.end is None else row.end
        out[index, :, : longest - row.tokens] = 0
        out[index, :, longest - row.tokens : longest] = state[row.row, :, end - row.tokens : end]
    return out
