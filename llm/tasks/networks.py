"""What the small networks of the catalogue answer: arrays of theirs to classes, boxes, masks and stretches of sound.

Each function takes a loaded network (`llm.engines.onnx`, `llm.engines.torch_networks`) and a picture from
`llm.tasks.pictures` or samples from `llm.tasks.sounds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from llm.tasks.labels import class_names
from llm.tasks.pictures import middle, normalised, resized_mask, to_planes

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Network(Protocol):
    """A loaded network with one input."""

    def run_first(self, value: np.ndarray) -> list[np.ndarray]: ...


def imagenet_scores(network: Network, image: Any) -> tuple[Sequence[str], np.ndarray]:
    """EfficientNet-Lite0's thousand classes and their shares of 1.

    The middle 224 of 256, in [-1, 1] as the network was trained: (value - 127) / 128.
    """
    pixels = to_planes(middle(image, 224, 224 / 256), [127 / 255] * 3, [128 / 255] * 3)
    return class_names("imagenet"), softmax(network.run_first(pixels)[0][0])


TURNS = ("upright", "turned 90° clockwise", "upside down", "turned 90° anticlockwise")


def turn_scores(network: Network, image: Any) -> tuple[Sequence[str], np.ndarray]:
    """How a scanned page lies: four classes and their shares of 1 (the network ends in a softmax)."""
    pixels = to_planes(middle(image, 224, 224 / 256), _IMAGENET_MEAN, _IMAGENET_STD)
    return TURNS, network.run_first(pixels)[0][0]


_LAYOUT_SIZE = (608, 800)
_LAYOUT_STRIDES = (8, 16, 32, 64)


def layout_boxes(
    network: Network, image: Any, least_score: float = 0.2, overlap: float = 0.5
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The parts of a page that PicoDet sees: n labels, scores of shape (n,), boxes of shape (n, 4) in pixels.

    Each of four grids gives, for each cell, a score a class and for each side of the box a distribution over its
    distance from the cell's middle in strides (generalised focal loss, arXiv:2006.04388, figure 5).

    Args:
        least_score: boxes below are never listed; what is shown of the rest is chosen later.
        overlap: of two boxes of one class whose intersection is more than this of their union, the better one stays.
    """
    outputs = network.run_first(normalised(image, _LAYOUT_SIZE, _IMAGENET_MEAN, _IMAGENET_STD))
    levels = len(_LAYOUT_STRIDES)
    scores = np.concatenate([level[0] for level in outputs[:levels]])
    boxes = np.concatenate(
        [_grid_boxes(sides[0], stride) for sides, stride in zip(outputs[levels:], _LAYOUT_STRIDES, strict=True)]
    )
    boxes *= np.tile(np.array(image.size) / _LAYOUT_SIZE, 2)
    boxes = np.clip(boxes, 0, np.tile(image.size, 2))
    cells, classes = np.nonzero(scores > least_score)
    kept = not_overlapping(boxes[cells], scores[cells, classes], classes, overlap)
    names = class_names("cdla")
    return [names[kind] for kind in classes[kept]], scores[cells, classes][kept], boxes[cells][kept]


def _grid_boxes(sides: np.ndarray, stride: int) -> np.ndarray:
    """Distributions of shape (cells, 4 * bins) over a grid of one stride to boxes (left, top, right, bottom)."""
    width, height = (-(-side // stride) for side in _LAYOUT_SIZE)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    middles = np.stack([across.ravel(), down.ravel()], 1) * stride + stride / 2
    bins = sides.reshape(len(sides), 4, -1)
    distances = (softmax(bins) * np.arange(bins.shape[-1])).sum(-1) * stride
    return np.concatenate([middles - distances[:, :2], middles + distances[:, 2:]], 1)


def not_overlapping(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, overlap: float) -> np.ndarray:
    """Which of n boxes stay, the best first: greedy non-maximum suppression within each class."""
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[waiting, :2]), np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        union = _areas(boxes[waiting]) + _areas(boxes[best][None])[0] - shared
        waiting = waiting[(shared <= overlap * union) | (classes[waiting] != classes[best])]
    return np.array(kept, int)


def _areas(boxes: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    return found


def foreground(network: Network, image: Any) -> np.ndarray:
    """How much each pixel belongs to what stands before the background (U²-Net): shares of shape (height, width).

    As its authors do it: values are divided by the picture's highest, the answer is stretched to 0..1 (u2net_test.py).
    """
    pixels = normalised(image, (320, 320), [0.0] * 3, [1.0] * 3)
    pixels = pixels / max(float(pixels.max()), 1e-6)
    mean, std = (np.array(values, np.float32)[None, :, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
    answer = network.run_first((pixels - mean) / std)[0][0, 0]
    low, high = float(answer.min()), float(answer.max())
    # Where nothing stands out, stretching would make something of noise.
    shares = (answer - low) / (high - low) if high > 0.5 else answer
    stretched: np.ndarray = np.clip(resized_mask(shares, image.size), 0, 1)
    return stretched


VAD_RATE, VAD_SAMPLES, _VAD_CONTEXT = 16_000, 512, 64


def speech_shares(network: Any, samples: np.ndarray) -> np.ndarray:
    """How likely somebody speaks, for each 512 samples (32 ms) of 16 kHz sound: Silero VAD, shape (windows,)."""
    windows = np.pad(samples, (0, -len(samples) % VAD_SAMPLES)).reshape(-1, VAD_SAMPLES)
    before = np.zeros((len(windows), _VAD_CONTEXT), np.float32)
    before[1:] = windows[:-1, -_VAD_CONTEXT:]
    state = np.zeros((1, 1, 128), np.float32)
    speech, *_ = network.run(input=np.concatenate([before, windows], 1).astype(np.float32), h=state, c=state)
    return np.asarray(speech, np.float32).reshape(-1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Shares of 1 along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares
