"""Qwen-VL's network (visual.py and modeling_qwen.py of Qwen/Qwen-VL-Chat) on top of Qwen's.

A picture becomes 256 embeddings: a vision transformer (ViT-bigG's shape) reads its patches, and 256 learned
queries attend over them. They take the places between `<img>` and `</img>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2Config
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from llm.checkpoints.qwen_model import QwenForCausalLM, qwen_config

NORM_EPS = 1e-6
RESAMPLER_HEAD_SIZE = 128
POSITIONS = 256
"""Rows of either position table, and queries of the resampler."""


@dataclass(frozen=True, slots=True)
class VisionShape:
    """Measures of the vision part, as in config.json's `visual`."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float
    output_dim: int
    image_start_id: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> VisionShape:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def qwen_vl_config(config: Mapping[str, Any]) -> Qwen2Config:
    """Qwen's configuration with the vision part's measures as `visual`."""
    result = qwen_config(config)
    result.visual = dict(config["visual"])
    return result


def on_grid(table: torch.Tensor, positions: int) -> torch.Tensor:
    """A square table of positions (rows, size), stretched to another square grid; bicubic, in float32."""
    source, target = math.isqrt(table.shape[0]), math.isqrt(positions)
    if source == target:
        return table
    square = table.float().view(1, source, source, -1).permute(0, 3, 1, 2)
    square = functional.interpolate(square, size=(target, target), mode="bicubic", align_corners=False)
    return square.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)


class VisionAttention(nn.Module):
    """Rows of `in_proj` are grouped by head: its query, its key, its value, then the next head's."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.in_proj = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fused = self.in_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = fused.chunk(3, dim=-1)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(attended.transpose(1, 2).flatten(-2))


class VisionMLP(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        inner = int(shape.width * shape.mlp_ratio)
        self.c_fc = nn.Linear(shape.width, inner)
        self.c_proj = nn.Linear(inner, shape.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class VisionBlock(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.ln_2 = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.attn = VisionAttention(shape)
        self.mlp = VisionMLP(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class VisionBlocks(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([VisionBlock(shape) for _ in range(shape.layers)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x)
        return x


class Resampler(nn.Module):
    """Learned queries over the patches; keys know where they are, values do not."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        size = shape.output_dim
        self.query = nn.Parameter(torch.empty(POSITIONS, size))
        self.pos_embed = nn.Parameter(torch.empty(POSITIONS, size))
        self.kv_proj = nn.Linear(shape.width, size, bias=False) if shape.width != size else nn.Identity()
        self.attn = nn.MultiheadAttention(size, size // RESAMPLER_HEAD_SIZE, batch_first=True)
        self.ln_q = nn.LayerNorm(size, eps=NORM_EPS)
        self.ln_kv = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.ln_kv(self.kv_proj(x))
        query = (self.ln_q(self.query) + self.pos_embed).expand(x.shape[0], -1, -1)
        key = x + on_grid(self.pos_embed, x.shape[1])
        return self.attn(query, key, x, need_weights=False)[0]


class QwenVision(nn.Module):
    """Pictures (pictures, 3, image size, image size) -> embeddings (pictures, 256, output size)."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, shape.width, shape.patch_size, shape.patch_size, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(POSITIONS, shape.width))
        self.ln_pre = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.transformer = VisionBlocks(shape)
        self.attn_pool = Resampler(shape)
        self.ln_post = nn.LayerNorm(shape.output_dim, eps=NORM_EPS)
        self.proj = nn.Parameter(torch.empty(shape.output_dim, shape.output_dim))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixel_values.to(self.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        x = self.ln_pre(x + on_grid(self.positional_embedding, x.shape[1]))
        x = self.attn_pool(self.transformer(x))
        return self.ln_post(x) @ self.proj


class QwenVLForCausalLM(QwenForCausalLM):
    """Qwen with pictures."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        shape = VisionShape.of(config.visual)
        self.image_start_id = shape.image_start_id
        self.visual = QwenVision(shape)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        pixel_values: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """pixel_values: the pictures of all rows in order, (pictures, 3, size, size); not after the prompt.

        Raises:
            ValueError: there are more or fewer pictures than places for them.
        """
        if inputs_embeds is None and input_ids is not None:
            inputs_embeds = self.model.embed_tokens(input_ids)
            if pixel_values is not None:
                inputs_embeds = self._with_pictures(input_ids, inputs_embeds, self.visual(pixel_values))
        return super().forward(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )

    def _with_pictures(self, ids: torch.Tensor, embeds: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        rows, begins = torch.nonzero(ids == self.image_start_id, as_tuple=True)
        if len(begins) != len(pictures):
            raise ValueError(f"the prompt has places for {len(begins)} pictures, and there are {len(pictures)}")
        places = begins[:, None] + 1 + torch.arange(POSITIONS, device=ids.device)
        return embeds.index_put((rows[:, None], places), pictures.to(embeds.dtype))

    def reads_prompt_whole(self, prompt_tokens: int) -> bool:
        """Also where the prompt has pictures, which a stretch of it could cut: so always."""
        return True
