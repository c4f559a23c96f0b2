"""Reading the text in a picture, Chinese and English, with RapidOCR (PP-OCR models in its wheel, on onnxruntime)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from llm.config import config
from llm.errors import MissingPackage
from llm.messages import ImagePart
from llm.vision.boxes import Box
from llm.vision.picture import for_model

if TYPE_CHECKING:
    from PIL.Image import Image

_LOCK = threading.Lock()
SAME_LINE = 0.5
"""Two stretches stand in one line when they overlap by this share of the lower one's height."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A stretch of text in a picture. `score`: how sure the reader is, 0 to 1. `box.label` is the text."""

    box: Box
    score: float

    @property
    def text(self) -> str:
        return self.box.label


@lru_cache(maxsize=128)
def read_text(part: ImagePart) -> tuple[TextLine, ...]:
    """The text in a picture, in reading order; the last pictures' text is remembered.

    Raises:
        MissingPackage: rapidocr is not installed.
        ModelError: the picture cannot be read, see `llm.vision.picture.take_in`.
    """
    return read_image(for_model(part))


def read_image(image: Image) -> tuple[TextLine, ...]:
    """The text in a Pillow image (RGB), in reading order. Raises MissingPackage."""
    import numpy

    pixels = numpy.ascontiguousarray(numpy.asarray(image)[:, :, ::-1])  # OpenCV's order: blue first
    engine = _engine()
    with _LOCK:
        found = engine(pixels)
    if found.boxes is None:
        return ()
    width, height = image.size
    return tuple(
        TextLine(_rectangle(str(text), corners, width, height), float(score))
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
    )


def in_lines(lines: Sequence[TextLine]) -> str:
    """The text as it stands on the page: what is side by side in one line, with blanks between."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: line.box.top):
        row = next((row for row in rows if _beside(row[-1].box, line.box)), None)
        if row is None:
            rows.append([line])
        else:
            row.append(line)
    return "\n".join("  ".join(line.text for line in sorted(row, key=lambda line: line.box.left)) for row in rows)


def _beside(one: Box, other: Box) -> bool:
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return overlap > SAME_LINE * min(one.bottom - one.top, other.bottom - other.top)


def _rectangle(text: str, corners: Any, width: int, height: int) -> Box:
    """The upright rectangle around four corners (4, 2) in pixels."""
    across = [min(1.0, max(0.0, float(x) / width)) for x, _ in corners]
    down = [min(1.0, max(0.0, float(y) / height)) for _, y in corners]
    return Box(text, min(across), min(down), max(across), max(down))


@cache
def _engine() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise MissingPackage(package="rapidocr") from error
    threads = config().threads or -1
    return RapidOCR(
        params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads},
    )
