"""CLIP: which of several captions fits a picture. English by OpenAI's CLIP, Chinese by Chinese-CLIP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.errors import CorruptModel, MissingPackage
from llm.messages import ImagePart
from llm.plan import LoadPlan, LoadProgress
from llm.vision.picture import for_model


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Clip:
    """Loads a CLIP or Chinese-CLIP folder.

    Raises:
        CorruptModel: its files are missing or damaged.
    """
    progress("weights", 0, 1)
    try:
        import torch
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingPackage(package="transformers") from error
    try:
        model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        pictures = AutoImageProcessor.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}") from error
    progress("weights", 1, 1)
    return Clip(model, tokenizer, pictures)


class Clip:
    """A CLIP's weights; one ranking at a time."""

    def __init__(self, model: Any, tokenizer: Any, pictures: Any) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._pictures = pictures
        self._lock = threading.Lock()

    def rank(self, part: ImagePart, captions: Sequence[str]) -> list[tuple[str, float]]:
        """Captions with how well each fits, the best first; the shares sum to one.

        CLIP's zero-shot classification (arXiv:2103.00020, section 3.1): softmax over the scaled cosines.

        Raises:
            ModelError: the picture cannot be read.
        """
        import torch

        image = for_model(part)
        with self._lock, torch.inference_mode():
            texts = self._tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
            pixels = self._pictures(images=image, return_tensors="pt")
            shares = self.model(**texts, **pixels).logits_per_image[0].softmax(-1).tolist()
        return sorted(zip(captions, shares, strict=True), key=lambda pair: -pair[1])

    def memory(self) -> MemoryUse:
        """What the weights take; nothing once they are freed."""
        weights = self.model.parameters() if self.model is not None else ()
        return MemoryUse({"cpu": sum(weight.numel() * weight.element_size() for weight in weights)})

    def close(self) -> None:
        """Frees the weights."""
        self.model = None
