"""Pictures through transformers' networks with a head: classes, boxes, masks.

One picture at a time: what stands beside it in a batch changes the answers of DETR and its like, because pictures are
padded to one size (huggingface/transformers#39382). What comes back is in pixels of the picture that was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from llm.errors import UnsupportedModel

Kind: TypeAlias = Literal["panoptic", "instance", "semantic"]
KINDS: tuple[Kind, ...] = ("panoptic", "instance", "semantic")


def label_names(config: Any, count: int) -> tuple[str, ...]:
    """The names of `count` classes; "class 3" where the checkpoint has none or only `LABEL_3`.

    Names that do not count as many as the head has outputs belong to another head, and are not used.
    """
    stored = {int(key): str(value) for key, value in (getattr(config, "id2label", None) or {}).items()}
    if len(stored) != count:
        stored = {}
    plain = {at for at, name in stored.items() if name == f"LABEL_{at}"}
    return tuple(f"class {at}" if at in plain or at not in stored else stored[at] for at in range(count))


def is_independent(config: Any, count: int) -> bool:
    """Whether a head's classes are judged each for itself (sigmoid) rather than shared out (softmax)."""
    return getattr(config, "problem_type", None) == "multi_label_classification" or count == 1


def scores_of(logits: Any, config: Any) -> np.ndarray:
    """Logits of shape (..., classes) to scores, by softmax or sigmoid as the checkpoint was trained."""
    values = logits.float()
    shares = values.sigmoid() if is_independent(config, values.shape[-1]) else values.softmax(-1)
    found: np.ndarray = shares.cpu().numpy()
    return found


def classify(model: Any, processor: Any, image: Any) -> tuple[Sequence[str], np.ndarray]:
    """All classes of an image-classification head and their scores, shape (classes,)."""
    logits = _forward(model, processor, image).logits[0]
    return label_names(model.config, len(logits)), scores_of(logits, model.config)


def detect(
    model: Any, processor: Any, image: Any, least_score: float = 0.05
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """What an object-detection head sees: n labels, scores of shape (n,), boxes of shape (n, 4) in pixels.

    Boxes may reach over the edges of a picture; they are cut there. The best come first.
    """
    outputs = _forward(model, processor, image)
    height, width = image.height, image.width
    found = processor.post_process_object_detection(outputs, threshold=least_score, target_sizes=[(height, width)])[0]
    scores, kinds = found["scores"].float().cpu().numpy(), found["labels"].cpu().numpy()
    boxes = np.clip(found["boxes"].float().cpu().numpy(), 0, [width, height, width, height])
    names = model.config.id2label or {}
    order = np.argsort(-scores, kind="stable")
    return [_name(names, int(kinds[at])) for at in order], scores[order], boxes[order]


@dataclass(frozen=True, slots=True)
class Part:
    """One segment. score: None where the network gives none. mask: bool of shape (height, width) of the picture."""

    label: str
    score: float | None
    mask: np.ndarray


def kinds_of(processor: Any) -> tuple[Kind, ...]:
    """Which segmentations a model's processor can make of its outputs."""
    return tuple(kind for kind in KINDS if hasattr(processor, f"post_process_{kind}_segmentation"))


def segment(model: Any, processor: Any, image: Any, kind: Kind | None = None, threshold: float = 0.5) -> list[Part]:
    """The segments of a picture, the largest first.

    Args:
        kind: None takes the first that the processor can do: panoptic, instance, semantic.
        threshold: segments below do not compete for pixels; semantic segmentation has none.

    Raises:
        UnsupportedModel: the processor cannot make this kind.
    """
    able = kinds_of(processor)
    if not able or (kind is not None and kind not in able):
        detail = f"its processor makes {', '.join(able) or 'no'} segmentation"
        raise UnsupportedModel(path=getattr(model.config, "_name_or_path", "") or "The model", detail=detail)
    kind = kind or able[0]
    outputs = _forward(model, processor, image)
    size = (image.height, image.width)
    if kind == "semantic":
        parts = _semantic(processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0], model.config)
    else:
        decode = getattr(processor, f"post_process_{kind}_segmentation")
        parts = _segments(decode(outputs, threshold=threshold, target_sizes=[size])[0], model.config)
    for part in parts:
        if part.mask.shape != size:
            raise UnsupportedModel(path="The model", detail=f"its masks are {part.mask.shape}, the picture {size}")
    return sorted(parts, key=lambda part: -int(part.mask.sum()))


def _semantic(classes: Any, config: Any) -> list[Part]:
    found = classes.cpu().numpy()
    return [Part(_name(config.id2label or {}, int(kind)), None, found == kind) for kind in np.unique(found)]


def _segments(found: Any, config: Any) -> list[Part]:
    if found["segmentation"] is None:
        return []
    numbers = found["segmentation"].cpu().numpy()
    parts = []
    for segment in found["segments_info"]:
        name = _name(config.id2label or {}, int(segment["label_id"]))
        mask = numbers == segment["id"]
        if mask.any():
            parts.append(Part(name, float(segment["score"]) if "score" in segment else None, mask))
    return parts


def _name(names: Any, kind: int) -> str:
    name = str(names.get(kind, f"LABEL_{kind}"))
    return f"class {kind}" if name == f"LABEL_{kind}" else name


def _forward(model: Any, processor: Any, image: Any) -> Any:
    import torch

    inputs = processor(images=image, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs.to(model.device))
