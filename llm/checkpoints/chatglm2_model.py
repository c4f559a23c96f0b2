"""ChatGLM2's and ChatGLM3's network, which is transformers' GLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import GlmConfig, GlmForCausalLM, GlmModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.glm.modeling_glm import GlmAttention, apply_rotary_pos_emb, eager_attention_forward

from llm.checkpoints.loading import dtype_of
from llm.checkpoints.prefix import Front, PrefixEncoder, in_front


class ChatGLM2Attention(GlmAttention):
    """GLM's, which also takes a P-Tuning v2 prefix."""

    def forward(  # type: ignore[override] # one argument more
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        prefix: Sequence[Front] | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if prefix is None:
            return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs)
        rows, tokens, _ = hidden_states.shape
        shape = (rows, tokens, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        if attention_mask is None and tokens > 1:
            seen = key.shape[2] - tokens
            attention_mask = query.new_ones(tokens, key.shape[2], dtype=torch.bool).tril_(seen)[None, None]
        if attention_mask is not None:
            open_ = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = functional.pad(attention_mask, (prefix[0][0].shape[1], 0), value=open_)
        key, value = in_front(prefix[self.layer_idx or 0], key, value)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, _ = attention(
            self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, is_causal=False, **kwargs
        )
        return self.o_proj(output.reshape(rows, tokens, -1)), None


class ChatGLM2Model(GlmModel):
    """GLM with a prefix before it, where config.json has a `pre_seq_len`."""

    def __init__(self, config: GlmConfig) -> None:
        super().__init__(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = ChatGLM2Attention(config, index)
        self.prefix_encoder = PrefixEncoder(config) if getattr(config, "pre_seq_len", 0) else None
        self.post_init()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.prefix_encoder is not None:
            kwargs["prefix"] = self.prefix_encoder(self.embed_tokens.weight.dtype)
        return super().forward(*args, **kwargs)


class ChatGLM2ForCausalLM(GlmForCausalLM):
    """GLM with ChatGLM2's or ChatGLM3's weights."""

    def __init__(self, config: GlmConfig) -> None:
        super().__init__(config)
        self.model = ChatGLM2Model(config)
        self.post_init()


def glm_config(config: Mapping[str, Any]) -> GlmConfig:
    """GLM's configuration from ChatGLM2's or ChatGLM3's config.json."""
    groups = config["multi_query_group_num"] if config.get("multi_query_attention") else None
    network = GlmConfig(
        vocab_size=config["padded_vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=groups or config["num_attention_heads"],
        head_dim=config["kv_channels"],
        max_position_embeddings=config["seq_length"],
        rms_norm_eps=config["layernorm_epsilon"],
        rope_parameters={
            "rope_type": "default",
            # Long-context variants stretch the base.
            "rope_theta": 10000.0 * config.get("rope_ratio", 1),
            "partial_rotary_factor": 0.5,
        },
        attention_bias=True,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        dtype=dtype_of(config.get("torch_dtype")),
    )
    network.pre_seq_len = config.get("pre_seq_len") or 0
    network.prefix_projection = bool(config.get("prefix_projection"))
    return network
