"""Gradients through weights in few bits, which are never learnt themselves (QLoRA, arXiv:2305.14314)."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class FrozenLayer(Protocol):
    """A layer whose weights stay as they are."""

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x @ weight.T, (..., outputs)."""

    def product_back(self, gradient: torch.Tensor) -> torch.Tensor:
        """gradient @ weight, (..., inputs), for a gradient (..., outputs)."""


class FrozenProduct(torch.autograd.Function):
    """A product with a gradient for its input alone. The weights are unpacked anew on the way back, and never kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: FrozenLayer) -> torch.Tensor:
        ctx.layer = layer
        return layer.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.layer.product_back(gradients[0]), None


def product(x: torch.Tensor, layer: FrozenLayer) -> torch.Tensor:
    """A layer's product, with a gradient where one is wanted."""
    if torch.is_grad_enabled() and x.requires_grad:
        y: torch.Tensor = FrozenProduct.apply(x, layer)
        return y
    return layer.product(x)
