"""P-Tuning v2's prefix (arXiv:2110.07602) as ChatGLM's scripts have it: keys and values in front of every layer's own.

They are seen by every token, not rotated, and move no positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

DROPOUT = 0.1
"""In training, on what comes out (PrefixEncoder's use in modeling_chatglm.py)."""
Front = tuple[torch.Tensor, torch.Tensor]
"""Keys and values (heads, prefix tokens, head size) of one layer."""


class PrefixEncoder(nn.Module):
    """A network's prefix, in float32.

    Args:
        config: with `pre_seq_len` and `prefix_projection`, and the network's measures under transformers' names.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden, heads = config.hidden_size, config.num_attention_heads
        size = getattr(config, "head_dim", None) or hidden // heads
        self.shape = (config.num_hidden_layers, 2, getattr(config, "num_key_value_heads", None) or heads, size)
        width = self.shape[0] * 2 * self.shape[2] * size
        # ChatGLM-6B's projection begins as wide as the network, that of ChatGLM2 and 3 as wide as what comes out.
        first = width if config.model_type == "glm" else hidden
        self.trans: nn.Module | None = None
        if config.prefix_projection:
            self.embedding = nn.Embedding(config.pre_seq_len, first)
            self.trans = nn.Sequential(nn.Linear(first, hidden), nn.Tanh(), nn.Linear(hidden, width))
        else:
            self.embedding = nn.Embedding(config.pre_seq_len, width)

    def forward(self, dtype: torch.dtype) -> list[Front]:
        """Keys and values of each layer, in the type in which the network computes."""
        rows = self.embedding.weight if self.trans is None else self.trans(self.embedding.weight)
        rows = functional.dropout(rows.to(dtype), DROPOUT, self.training)
        return [(layer[0], layer[1]) for layer in rows.view(-1, *self.shape).permute(1, 2, 3, 0, 4)]


def in_front(prefix: Front, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (rows, heads, tokens, head size) with the prefix before them."""
    rows = key.shape[0]
    keys = torch.cat((prefix[0].expand(rows, -1, -1, -1), key), dim=2)
    return keys, torch.cat((prefix[1].expand(rows, -1, -1, -1), value), dim=2)


def network_of(model: Any) -> Any | None:
    """The part of a model that takes a prefix, as `prefix_encoder`; None: the model takes none."""
    inner = getattr(model, getattr(model, "base_model_prefix", ""), None)
    return inner if hasattr(inner, "prefix_encoder") else None


def give(model: Any, encoder: PrefixEncoder | None) -> None:
    """Puts a prefix before a model that takes one, or takes it away."""
    network = network_of(model)
    network.prefix_encoder = encoder  # type: ignore[union-attr]
    model.config.pre_seq_len = 0 if encoder is None else encoder.embedding.num_embeddings


def encoder_for(model: Any, tokens: int, projection: bool) -> PrefixEncoder:
    """A fresh prefix of a model's measures, on its device."""
    config = type(model.config)(**model.config.to_dict())
    config.pre_seq_len, config.prefix_projection = tokens, projection
    return PrefixEncoder(config).to(model.get_input_embeddings().weight.device)
