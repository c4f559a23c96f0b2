"""Picture and sound jobs: what goes in, which network answers, what comes out and how long each part took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry, Task
from llm.engines.heads import HeadModel
from llm.errors import UnsupportedModel
from llm.runtime import handles
from llm.tasks import image_heads, networks, sound_heads
from llm.tasks.image_heads import Part
from llm.tasks.pictures import PictureSource, middle, read_picture
from llm.tasks.sound_heads import TimeLine
from llm.tasks.sounds import SoundSource

Meaning: TypeAlias = Literal["softmax", "sigmoid", "logprob"]


@dataclass(frozen=True, slots=True)
class Classified:
    """All classes with their scores, the best first. meaning: how the scores came about."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    meaning: Meaning = "softmax"

    def best(self, count: int, least: float = 0.0) -> list[tuple[str, float]]:
        """At most `count` classes whose score is at least `least`."""
        rows = zip(self.labels[:count], self.scores[:count], strict=True)
        return [(label, score) for label, score in rows if score >= least]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes in pixels of the upright picture, shape (n, 4): left, top, right, bottom; the best first."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    boxes: np.ndarray


@dataclass(frozen=True, slots=True)
class Masks:
    """Segments of the upright picture, the largest first. shares: a soft mask of the foreground, where there is one."""

    parts: tuple[Part, ...]
    shares: np.ndarray | None = None


Output: TypeAlias = Classified | Boxes | Masks | TimeLine


@dataclass(frozen=True, slots=True)
class MediaRun:
    """One answer. image: the upright picture that it is about. saw: what of it the network was given.

    seconds: by part of the work: load, prepare, model.
    """

    output: Output
    image: Any = None
    saw: Any = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def run_picture(source: PictureSource, model: str | ModelEntry, name: str = "") -> MediaRun:
    """Does the job that a model is for with a picture.

    Raises:
        ModelError: the picture cannot be read, or the model is not there or has no such job.
    """
    clock = _Clock()
    image = read_picture(source, name)
    clock.lap("prepare")
    handle = handles.task_model(model)
    clock.lap("load")
    with handle.in_use() as network:
        job = _HEADS.get(handle.entry.task) if isinstance(network, HeadModel) else _NETWORKS.get(handle.entry.family)
        if job is None:
            raise UnsupportedModel(path=handle.entry.name, detail="nothing here reads its outputs")
        output = job.answer(network, image)
    clock.lap("model")
    return MediaRun(output, image, job.saw(image), clock.seconds)


def run_sound(
    source: SoundSource,
    model: str | ModelEntry,
    name: str = "",
    cancel: Cancel | None = None,
) -> MediaRun:
    """Tells what sounds when. Raises as `run_picture`, and `llm.tasks.sounds.windows`."""
    clock = _Clock()
    handle = handles.task_model(model)
    clock.lap("load")
    with handle.in_use() as network:
        if isinstance(network, HeadModel):
            with network.lock:
                output = sound_heads.listen(network.model, network.reader, source, name, cancel)
        else:
            output = sound_heads.when_somebody_speaks(network, source, name, cancel)
    clock.lap("model")
    return MediaRun(output, seconds=clock.seconds)


class _Clock:
    def __init__(self) -> None:
        self._at = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self._at
        self._at = now


@dataclass(frozen=True, slots=True)
class _Network:
    """How a family's network answers, and the square that it is shown."""

    answer: Callable[[Any, Any], Output]
    saw: Callable[[Any], Any]


def classified(labels: Sequence[str], scores: np.ndarray, meaning: Meaning = "softmax") -> Classified:
    """Classes in the order of their scores."""
    order = np.argsort(-scores, kind="stable")
    return Classified(tuple(labels[at] for at in order), tuple(float(scores[at]) for at in order), meaning)


def _boxes(network: Any, image: Any) -> Boxes:
    labels, scores, boxes = networks.layout_boxes(network, image)
    return Boxes(tuple(labels), tuple(float(score) for score in scores), boxes)


def _foreground(network: Any, image: Any) -> Masks:
    shares = networks.foreground(network, image)
    parts = [Part("foreground", None, shares > 0.5), Part("background", None, shares <= 0.5)]
    return Masks(tuple(sorted((p for p in parts if p.mask.any()), key=lambda part: -int(part.mask.sum()))), shares)


def _squeezed(width: int, height: int) -> Callable[[Any], Any]:
    return lambda image: image.resize((width, height), reducing_gap=3.0)


_NETWORKS: Mapping[str, _Network] = {
    "efficientnet-lite0": _Network(
        lambda network, image: classified(*networks.imagenet_scores(network, image)),
        lambda image: middle(image, 224, 224 / 256),
    ),
    "pp-lcnet-orientation": _Network(
        lambda network, image: classified(*networks.turn_scores(network, image)),
        lambda image: middle(image, 224, 224 / 256),
    ),
    "picodet-cdla": _Network(_boxes, _squeezed(608, 800)),
    "u2netp": _Network(_foreground, _squeezed(320, 320)),
}


def _head_classes(head: HeadModel, image: Any) -> Classified:
    with head.lock:
        labels, scores = image_heads.classify(head.model, head.reader, image)
    meaning: Meaning = "sigmoid" if image_heads.is_independent(head.config, len(labels)) else "softmax"
    return classified(labels, scores, meaning)


def _head_boxes(head: HeadModel, image: Any) -> Boxes:
    with head.lock:
        labels, scores, boxes = image_heads.detect(head.model, head.reader, image)
    return Boxes(tuple(labels), tuple(float(score) for score in scores), boxes)


def _head_masks(head: HeadModel, image: Any) -> Masks:
    with head.lock:
        return Masks(tuple(image_heads.segment(head.model, head.reader, image)))


_HEADS: Mapping[Task, _Network] = {
    "image-classification": _Network(_head_classes, lambda image: None),
    "object-detection": _Network(_head_boxes, lambda image: None),
    "image-segmentation": _Network(_head_masks, lambda image: None),
}
"""Checkpoints of transformers, by what their head does."""
PICTURE_TASKS: tuple[Task, ...] = ("image-classification", "object-detection", "image-segmentation")
SOUND_TASKS: tuple[Task, ...] = ("audio-classification",)
