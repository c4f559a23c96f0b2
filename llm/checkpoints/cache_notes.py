"""Numbers that a model must remember for every token beside its keys and values.

They live in one more layer of the cache, as keys of one head, so that whatever is done to a cache (rows
joining or leaving a batch, beams, cutting it back) is done to them too. A note kept on the model or on
the cache object would be lost or, with several answers in work, mixed up.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


def remember(cache: Cache | None, layer: int, notes: torch.Tensor) -> torch.Tensor:
    """Adds the notes of new tokens.

    Args:
        cache: the model's cache; None remembers nothing.
        layer: number of the model's real layers, whose place the notes take after them.
        notes: (rows, new tokens, notes per token), float32: exact for whole numbers below 2^24.

    Returns:
        The notes of all tokens so far, (rows, tokens, notes per token).
    """
    if cache is None:
        return notes
    _make_room(cache, layer)
    keys, _ = cache.update(notes[:, None], notes[:, None], layer)
    return keys[:, 0]


def last(cache: Cache, layer: int) -> torch.Tensor | None:
    """The notes of each row's last token, (rows, notes per token); None before the first."""
    if len(cache.layers) <= layer:
        return None
    notes: Any = cache.layers[layer]
    if not notes.is_initialized:
        return None
    keys: torch.Tensor = notes.keys
    return keys[:, 0, -1] if keys.shape[-2] else None


def _make_room(cache: Cache, layer: int) -> None:
    if len(cache.layers) == layer and cache.layer_class_to_replicate is None:
        cache.layers.append(DynamicLayer())
