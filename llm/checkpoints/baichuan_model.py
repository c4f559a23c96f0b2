"""Baichuan's networks on transformers' Llama classes.

7B (modeling_baichuan.py of baichuan-inc/Baichuan2-7B-Chat) is Llama's network. 13B has no rotary positions
but ALiBi (arXiv:2108.12409): a score loses slope * distance, with one slope for each head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.models.llama.modeling_llama import ALL_ATTENTION_FUNCTIONS, LlamaAttention, eager_attention_forward

from llm.checkpoints.computed_buffers import FillsTables, Tables
from llm.checkpoints.loading import dtype_of

ROWS = 512
"""Rows that are made float32 at a time: all of 13B's head would take 2.6 GB."""


def baichuan_config(config: Mapping[str, Any]) -> LlamaConfig:
    """Llama's configuration from config.json."""
    return LlamaConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        hidden_act=config.get("hidden_act", "silu"),
        max_position_embeddings=config.get("max_position_embeddings") or config["model_max_length"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        pad_token_id=config.get("pad_token_id", 0),
        bos_token_id=config.get("bos_token_id", 1),
        eos_token_id=config.get("eos_token_id", 2),
        dtype=dtype_of(config.get("torch_dtype")),
    )


class BaichuanForCausalLM(LlamaForCausalLM):
    """Baichuan 7B."""


class Alibi(Tables):
    """Attention masks that hold ALiBi's biases."""

    slopes: torch.Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.make_tables()

    def tables(self) -> dict[str, torch.Tensor]:
        return {"slopes": torch.tensor(alibi_slopes(self.heads))}

    def forward(self, hidden_states: torch.Tensor, seen: int, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """What is added to the scores: (rows or 1, heads, new tokens, all tokens) in the states' dtype.

        Args:
            hidden_states: (rows, new tokens, hidden size).
            seen: tokens in the cache.
            attention_mask: (rows, all tokens), 0 for padding; None for no padding.
        """
        device, tokens = hidden_states.device, hidden_states.shape[1]
        keys = torch.arange(seen + tokens, device=device)
        distance = (keys[None] - keys[seen:, None])[None, None]
        bias = (self.slopes[None, :, None, None] * distance).to(hidden_states.dtype)
        visible = distance <= 0
        if attention_mask is not None:
            visible = visible & attention_mask[:, None, None].bool()
        # Not minus infinity: a padded query sees no key at all, and must not become NaN.
        return bias.masked_fill(~visible, torch.finfo(bias.dtype).min)


class AlibiAttention(LlamaAttention):
    """Llama's attention without rotary positions."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        position_embeddings: None,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attention(
            self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs
        )
        return self.o_proj(output.reshape(*input_shape, -1)), weights


class NoPositions(nn.Module):
    """Stands where Llama asks for rotary angles."""

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> None:
        return None


class BaichuanAlibiModel(FillsTables, LlamaModel):
    """The 13B's decoder."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.rotary_emb = NoPositions()  # type: ignore[assignment]
        self.alibi = Alibi(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = AlibiAttention(config, index)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if (self.config.use_cache if use_cache is None else use_cache) and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        return super().forward(
            inputs_embeds=embeds,
            attention_mask=self.alibi(embeds, seen, attention_mask),
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )


class BaichuanAlibiForCausalLM(FillsTables, LlamaForCausalLM):
    """Baichuan 13B."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model = BaichuanAlibiModel(config)
        self.post_init()


def alibi_slopes(heads: int) -> list[float]:
    """One slope for each head, steepest first (`_get_interleave` of the published code).

    For a count that is no power of two: those of the next lower power, then every second one of twice
    that power.
    """
    power = 2 ** math.floor(math.log2(heads))
    start = 2.0 ** (-8.0 / power)
    slopes = [start ** (head + 1) for head in range(power)]
    return slopes if power == heads else slopes + alibi_slopes(2 * power)[0::2][: heads - power]


def unit_rows(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rows of a matrix at length 1, reckoned in float32, as `dtype`: Baichuan2's head is used this way."""
    rows = torch.empty_like(weight, dtype=dtype)
    for part, out in zip(weight.split(ROWS), rows.split(ROWS), strict=True):
        part = part.float()
        out.copy_(part.div_(torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_(min=1e-12)))
    return rows
