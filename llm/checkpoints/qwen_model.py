"""The first Qwen's network (modeling_qwen.py of Qwen/Qwen-7B-Chat) on transformers' Qwen2 classes.

Equal to Qwen2 up to the trained length. Beyond it the rotary base grows with the prompt (dynamic NTK) and
queries are scaled with the logarithm of their position (log-n attention), so that attention over more
keys than were seen in training stays as sharp as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen2.modeling_qwen2 import (
    ALL_ATTENTION_FUNCTIONS,
    Qwen2Attention,
    Qwen2Model,
    apply_rotary_pos_emb,
    eager_attention_forward,
)

from llm.checkpoints import cache_notes
from llm.checkpoints.computed_buffers import FillsTables, Tables
from llm.checkpoints.loading import dtype_of

NTK_LEVELS = 16
"""Doublings of the trained length for which rotary frequencies are prepared."""


def qwen_config(config: Mapping[str, Any]) -> Qwen2Config:
    """Qwen2's configuration from config.json, under the key names of the first or of the later revisions."""

    def value(*names: str, default: Any = None) -> Any:
        return next((config[name] for name in names if config.get(name) is not None), default)

    hidden = value("hidden_size", "n_embd")
    heads = value("num_attention_heads", "n_head")
    qwen2 = Qwen2Config(
        vocab_size=value("vocab_size", "padded_vocab_size"),
        hidden_size=hidden,
        # The published number counts both halves of the gated network.
        intermediate_size=value("intermediate_size", "ffn_hidden_size") // 2,
        num_hidden_layers=value("num_hidden_layers", "n_layer"),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=value("max_position_embeddings", "n_positions", default=32768),
        rms_norm_eps=config["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": float(value("rotary_emb_base", default=10000))},
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        eos_token_id=config.get("eos_token_id"),
        dtype=dtype_of(config.get("torch_dtype")),
    )
    qwen2.head_dim = value("kv_channels", default=hidden // heads)
    qwen2.trained_length = value("seq_length", default=8192)
    qwen2.use_dynamic_ntk = value("use_dynamic_ntk", default=True)
    qwen2.use_logn_attn = value("use_logn_attn", default=True)
    return qwen2


class QwenRotaryEmbedding(Tables):
    """Rotary angles whose base depends on how often the trained length was doubled.

    At level k the prompt has up to trained_length * 2^k tokens; base * (2^(k+1) - 1)^(d / (d - 2)) is
    the base then, with d the size of a head.
    """

    level_freq: torch.Tensor
    level_length: torch.Tensor

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.make_tables()

    def tables(self) -> dict[str, torch.Tensor]:
        """`level_freq` (levels, head size / 2), and `level_length` (levels - 1,): the longest prompt of each level."""
        size, base = self.config.head_dim, (self.config.rope_parameters or {})["rope_theta"]
        exponents = torch.arange(0, size, 2, dtype=torch.float) / size
        levels = range(NTK_LEVELS if self.config.use_dynamic_ntk else 1)
        bases = [base * (2.0 ** (level + 1) - 1) ** (size / (size - 2)) for level in levels]
        lengths = [float(self.config.trained_length * 2**level) for level in levels[:-1]]
        return {
            "level_freq": torch.stack([1.0 / (base**exponents) for base in bases]),
            "level_length": torch.tensor(lengths),
        }

    def level_of(self, tokens: torch.Tensor) -> torch.Tensor:
        """Level (rows,) of prompts of so many tokens (rows,)."""
        return (tokens[:, None] > self.level_length).sum(-1)

    @torch.no_grad()
    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor, level: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (rows, tokens, head size) in x's dtype, for level (rows,)."""
        freq = self.level_freq[0][None] if level is None else self.level_freq[level]
        angles = position_ids[..., None].float() * freq[:, None]
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class QwenAttention(Qwen2Attention):
    """Qwen2's attention with a scale for each query. `query_scale`: (rows, 1, tokens, 1), or None for 1."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        query_scale: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if query_scale is not None:
            query = query * query_scale
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attention(
            self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs
        )
        return self.o_proj(output.reshape(*input_shape, -1)), weights


class QwenModel(FillsTables, Qwen2Model):
    """Qwen2's decoder with dynamic NTK and log-n attention."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.rotary_emb = QwenRotaryEmbedding(config)  # type: ignore[assignment]
        for index, layer in enumerate(self.layers):
            layer.self_attn = QwenAttention(config, index)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Positions count from each row's first real token, so a row of a batch answers as it would alone."""
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            position_ids = _positions(hidden_states, attention_mask, seen)
        position_ids = position_ids.expand(hidden_states.shape[0], -1)
        # One new token after others belongs to an answer, and an answer keeps its prompt's level.
        level = self._level(position_ids, past_key_values, is_answer=seen > 0 and hidden_states.shape[1] == 1)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden_states,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        angles = self.rotary_emb(hidden_states, position_ids, level)
        scale = self._query_scale(position_ids, seen, hidden_states.dtype)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_embeddings=angles,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                query_scale=scale,
                **kwargs,
            )
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values if use_cache else None
        )

    def _level(self, position_ids: torch.Tensor, cache: Cache | None, is_answer: bool) -> torch.Tensor | None:
        """NTK level (rows,) of each row, remembered for the answer's later tokens."""
        if not self.config.use_dynamic_ntk:
            return None
        layer = self.config.num_hidden_layers
        noted = cache_notes.last(cache, layer) if is_answer and cache is not None else None
        if noted is None:
            noted = self.rotary_emb.level_of(position_ids[:, -1] + 1)[:, None].float()  # type: ignore[operator]
        rows, tokens = position_ids.shape
        cache_notes.remember(cache, layer, noted[:, None].expand(rows, tokens, 1))
        return noted[:, 0].long()

    def _query_scale(self, position_ids: torch.Tensor, seen: int, dtype: torch.dtype) -> torch.Tensor | None:
        """log(position + 1) / log(trained length) beyond the trained length, else 1."""
        trained = self.config.trained_length
        if not self.config.use_logn_attn or seen + position_ids.shape[1] <= trained:
            return None
        scale = torch.log(position_ids.float() + 1) / math.log(trained)
        return torch.where(position_ids >= trained, scale, 1.0).to(dtype)[:, None, :, None]


class QwenForCausalLM(FillsTables, Qwen2ForCausalLM):
    """The first Qwen with its language head."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = QwenModel(config)
        self.post_init()

    def reads_prompt_whole(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this length must be read in one pass, from its first token.

        Beyond the trained length all its keys depend on its length, so that neither stretches nor another
        prompt's keys give the same numbers.
        """
        return self.config.use_dynamic_ntk and prompt_tokens > self.config.trained_length


def _positions(hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, seen: int) -> torch.Tensor:
    tokens = hidden_states.shape[1]
    if attention_mask is not None and attention_mask.dim() == 2:
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -tokens:]
    return (torch.arange(tokens, device=hidden_states.device) + seen)[None]
