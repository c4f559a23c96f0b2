"""ChatGLM-6B's network (modeling_chatglm.py of THUDM/chatglm-6b), the first generation.

What sets it apart: every token has two positions, one in the prompt and one in the answer, and each turns
one half of a head; the prompt sees all of itself; a layer's residual is its normalised input, scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward, rotate_half

from llm.checkpoints import cache_notes
from llm.checkpoints.computed_buffers import FillsTables, Tables
from llm.checkpoints.loading import dtype_of
from llm.checkpoints.prefix import Front, PrefixEncoder, in_front

RESIDUAL_SCALE = math.sqrt(2 * 28)
"""The published code takes the 28 from a default argument, not from config.json's number of layers."""

FALLBACK_ID, FALLBACK_SCORE = 5, 5e4
"""Where a score is no number all become 0 but this one (`InvalidScoreLogitsProcessor`)."""


class ChatGLMConfig(PreTrainedConfig):
    """ChatGLM-6B's measures and special ids, under transformers' names."""

    model_type = "chatglm-6b"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ChatGLMConfig:
        """From config.json."""
        result = cls(dtype=dtype_of(config.get("torch_dtype")))
        result.bos_token_id = config["bos_token_id"]
        result.eos_token_id = config["eos_token_id"]
        result.pad_token_id = config.get("pad_token_id", 3)
        result.tie_word_embeddings = True
        result.vocab_size = config["vocab_size"]
        result.hidden_size = config["hidden_size"]
        result.intermediate_size = config.get("inner_hidden_size") or 4 * config["hidden_size"]
        result.num_hidden_layers = config["num_layers"]
        result.num_attention_heads = config["num_attention_heads"]
        result.layer_norm_eps = config["layernorm_epsilon"]
        result.max_position_embeddings = config["max_sequence_length"]
        result.mask_token_id = config["mask_token_id"]
        result.gmask_token_id = config["gmask_token_id"]
        result.pre_seq_len = config.get("pre_seq_len") or 0
        result.prefix_projection = bool(config.get("prefix_projection"))
        result.use_cache = True
        return result


class TwofoldRotary(Tables):
    """Angles of both positions. The frequencies are rounded to float16, as in the published files."""

    inv_freq: torch.Tensor

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.size = config.hidden_size // config.num_attention_heads // 2
        self.make_tables()

    def tables(self) -> dict[str, torch.Tensor]:
        exact = 1.0 / (10000.0 ** (torch.arange(0, self.size, 2, dtype=torch.float) / self.size))
        return {"inv_freq": exact.half().float()}

    def forward(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (rows, 1, tokens, 2, half a head) for positions (rows, tokens, 2)."""
        angles = positions[..., None].float() * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    halves = x.unflatten(-1, (2, -1))
    return (halves * cos + rotate_half(halves) * sin).flatten(-2)


class ChatGLMAttention(nn.Module):
    """Rows of `query_key_value` are grouped by head: its query, its key, its value, then the next head's."""

    def __init__(self, config: ChatGLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.is_causal = False
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        cache: Cache | None,
        prefix: Front | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        rows, tokens, _ = hidden_states.shape
        fused = self.query_key_value(hidden_states).view(rows, tokens, self.heads, 3 * self.head_size)
        query, key, value = fused.transpose(1, 2).chunk(3, dim=-1)
        query, key = _turned(query, *angles), _turned(key, *angles)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        if prefix is not None:
            key, value = in_front(prefix, key, value)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, _ = attention(
            self, query, key, value, mask, dropout=0.0, scaling=self.head_size**-0.5, is_causal=False, **kwargs
        )
        return self.dense(output.reshape(rows, tokens, -1))


class ChatGLMMLP(nn.Module):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(hidden_states), approximate="tanh"))


class ChatGLMLayer(GradientCheckpointingLayer):
    """x = a * norm(x) + attention(norm(x)), then the same with the MLP: the raw x ends at each norm."""

    def __init__(self, config: ChatGLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ChatGLMAttention(config, layer_idx)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ChatGLMMLP(config)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states = RESIDUAL_SCALE * hidden_states + self.attention(hidden_states, *args, **kwargs)
        hidden_states = self.post_attention_layernorm(hidden_states)
        return RESIDUAL_SCALE * hidden_states + self.mlp(hidden_states)


class ChatGLMPreTrainedModel(FillsTables, PreTrainedModel):
    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["ChatGLMLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    supports_gradient_checkpointing = True
    _supports_attention_backend = True


class ChatGLMModel(ChatGLMPreTrainedModel):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([ChatGLMLayer(config, index) for index in range(config.num_hidden_layers)])
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.rotary_emb = TwofoldRotary(config)
        self.prefix_encoder = PrefixEncoder(config) if config.pre_seq_len else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.word_embeddings = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """attention_mask: (rows, all tokens), 0 for padding on the left. Positions follow from the ids."""
        hidden_states = self.word_embeddings(input_ids)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        noted: torch.Tensor | None = None
        mask: torch.Tensor | None
        if past_key_values is not None and past_key_values.get_seq_length():
            noted = cache_notes.last(past_key_values, self.config.num_hidden_layers)
        if noted is None:
            positions, context = self._prompt_positions(input_ids, attention_mask)
            mask = _prompt_mask(input_ids, attention_mask, context)
        else:
            positions = _answer_positions(noted, input_ids.shape[1])
            mask = _answer_mask(input_ids, attention_mask, past_key_values.get_seq_length())  # type: ignore[union-attr]
        cache_notes.remember(past_key_values, self.config.num_hidden_layers, positions.float())
        angles = self.rotary_emb(positions, hidden_states.dtype)
        prefix = (
            self.prefix_encoder(hidden_states.dtype) if self.prefix_encoder is not None else [None] * len(self.layers)
        )
        mask = _additive(mask, hidden_states.dtype, self.config.pre_seq_len)
        for layer, front in zip(self.layers, prefix, strict=True):
            hidden_states = layer(hidden_states, angles, mask, past_key_values, front)
        return BaseModelOutputWithPast(
            last_hidden_state=self.final_layernorm(hidden_states), past_key_values=past_key_values
        )

    def _prompt_positions(
        self, ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (rows, tokens, 2) of a prompt, and the column of each row's first <sop> (rows, 1).

        The first position counts up to <sop>, which takes that of [gMASK] (else [MASK]), as does all
        that follows; the second is 0 before <sop> and counts from 1 there. Without <sop> all of the text
        is what follows.
        """
        tokens = ids.shape[1]
        columns = torch.arange(tokens, device=ids.device)[None]
        padding = torch.zeros_like(ids[:, :1]) if attention_mask is None else (attention_mask == 0).sum(-1, True)
        context = _first(ids == self.config.bos_token_id)
        context = torch.where(context < tokens, context, padding)
        gmask, mask = _first(ids == self.config.gmask_token_id), _first(ids == self.config.mask_token_id)
        marked = torch.minimum(torch.where(gmask < tokens, gmask, mask), context)
        first = torch.where(columns < context, columns, marked) - padding
        second = columns - context + 1
        return torch.stack((first, second), dim=-1).clamp_(min=0), context


class ChatGLMForCausalLM(ChatGLMPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.word_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (rows, tokens, vocabulary); logits_to_keep: only for so many last tokens, 0 for all."""
        output = self.transformer(input_ids, attention_mask, past_key_values, use_cache)
        logits = self.lm_head(output.last_hidden_state[:, -logits_to_keep:])
        # In training a score that is no number must be seen.
        scores = logits if self.training else usable_scores(logits)
        return CausalLMOutputWithPast(logits=scores, past_key_values=output.past_key_values)

    def reads_prompt_whole(self, prompt_tokens: int) -> bool:
        """Always: every token of a prompt sees all of it, so its keys are no other prompt's."""
        return True


def usable_scores(scores: torch.Tensor) -> torch.Tensor:
    """Scores (..., vocabulary), replaced where one of them is infinite or no number."""
    fallback = torch.zeros(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    fallback[FALLBACK_ID] = FALLBACK_SCORE
    return torch.where(scores.isfinite().all(-1, keepdim=True), scores, fallback)


def _first(hits: torch.Tensor) -> torch.Tensor:
    """Column of each row's first hit (rows, 1); the number of columns where there is none."""
    columns = torch.arange(hits.shape[1], device=hits.device)[None]
    return torch.where(hits, columns, hits.shape[1]).amin(-1, keepdim=True)


def _answer_positions(noted: torch.Tensor, tokens: int) -> torch.Tensor:
    steps = torch.arange(1, tokens + 1, device=noted.device)[None]
    first = noted[:, :1].long().expand(-1, tokens)
    return torch.stack((first, noted[:, 1:].long() + steps), dim=-1)


def _prompt_mask(ids: torch.Tensor, attention_mask: torch.Tensor | None, context: torch.Tensor) -> torch.Tensor:
    """Who sees whom, (rows, tokens, tokens): everybody the prompt, and causally from <sop> on."""
    columns = torch.arange(ids.shape[1], device=ids.device)
    visible = (columns[None] <= columns[:, None])[None] | (columns[None] < context)[:, None]
    if attention_mask is not None:
        real = attention_mask.bool()
        # A padded query sees itself alone, so that its softmax has something to sum.
        visible = visible & real[:, None] | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return visible


def _answer_mask(ids: torch.Tensor, attention_mask: torch.Tensor | None, seen: int) -> torch.Tensor | None:
    tokens = ids.shape[1]
    if tokens == 1:
        return None if attention_mask is None else attention_mask.bool()[:, None]
    columns = torch.arange(seen + tokens, device=ids.device)
    visible = (columns[None] <= columns[seen:, None])[None]
    return visible if attention_mask is None else visible & attention_mask.bool()[:, None]


def _additive(mask: torch.Tensor | None, dtype: torch.dtype, prefix_tokens: int) -> torch.Tensor | None:
    """What is added to the scores, (rows, 1, tokens, all tokens); a prefix is seen by all."""
    if mask is None:
        return None
    visible = functional.pad(mask, (prefix_tokens, 0), value=True)[:, None]
    return torch.zeros(visible.shape, dtype=dtype, device=mask.device).masked_fill_(~visible, torch.finfo(dtype).min)
