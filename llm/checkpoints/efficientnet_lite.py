"""EfficientNet-Lite0: a network of 4.7 million weights that names one of ImageNet's thousand things in a picture.

EfficientNet (arXiv:1905.11946) without squeeze-and-excitation and with ReLU6 in the place of swish, its first and last
layers not scaled (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Names of weights as
in the PyTorch port that the checkpoint comes from, whose padding keeps a side of n at ceil(n / stride) as TensorFlow's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from llm.errors import CorruptModel

_EPSILON, _CLASSES, _STEM, _HEAD = 1e-3, 1000, 32, 1280


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks of one width: how many, kernel side, stride of the first, expansion, channels in and out."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    inside: int
    outside: int


_STAGES = (
    _Stage(1, 3, 1, 1, 32, 16),
    _Stage(2, 3, 2, 6, 16, 24),
    _Stage(2, 5, 2, 6, 24, 40),
    _Stage(3, 3, 2, 6, 40, 80),
    _Stage(3, 5, 1, 6, 80, 112),
    _Stage(4, 5, 2, 6, 112, 192),
    _Stage(1, 3, 1, 6, 192, 320),
)


class _SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's `SAME`: the odd pixel goes to the right and to the bottom."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        padding: list[int] = []
        for side, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, padding))


class _Block(nn.Module):
    """Expands, filters each channel by itself, projects; adds its input where the shapes are the same."""

    def __init__(self, stage: _Stage, first: bool) -> None:
        super().__init__()
        inside = stage.inside if first else stage.outside
        wide, stride = inside * stage.expand, stage.stride if first else 1
        self._expands = stage.expand > 1
        self._adds = stride == 1 and inside == stage.outside
        if self._expands:
            self._expand_conv = _SameConv(inside, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._depthwise_conv = _SameConv(wide, wide, stage.kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._project_conv = _SameConv(wide, stage.outside, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(stage.outside, eps=_EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return y + x if self._adds else y


class EfficientNetLite0(nn.Module):
    """Pictures of shape (n, 3, side, side), normalised, to logits of shape (n, 1000); trained at a side of 224."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, _STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        self._blocks = nn.ModuleList(_Block(stage, at == 0) for stage in _STAGES for at in range(stage.blocks))
        self._conv_head = _SameConv(_STAGES[-1].outside, _HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPSILON)
        self._fc = nn.Linear(_HEAD, _CLASSES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        logits: torch.Tensor = self._fc(x.mean((2, 3)))
        return logits


def load_efficientnet_lite0(path: Path) -> EfficientNetLite0:
    """The network with the weights of a state dict (.pth), ready to run.

    Raises:
        CorruptModel: the file is no state dict of it.
    """
    network = EfficientNetLite0()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds: of its unpickler, of the zip file, of shapes
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}") from error
    return network.eval()
