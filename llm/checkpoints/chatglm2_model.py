"""ChatGLM2's and ChatGLM3's network, which is transformers' GLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import GlmConfig, GlmForCausalLM

from llm.checkpoints.loading import dtype_of


class ChatGLM2ForCausalLM(GlmForCausalLM):
    """GLM with ChatGLM2's or ChatGLM3's weights."""


def glm_config(config: Mapping[str, Any]) -> GlmConfig:
    """GLM's configuration from ChatGLM2's or ChatGLM3's config.json."""
    groups = config["multi_query_group_num"] if config.get("multi_query_attention") else None
    return GlmConfig(
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
