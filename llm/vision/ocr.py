"""Reading the text in a picture, Chinese and English, with RapidOCR (PP-OCR models in its wheel, on onnxruntime)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any

from llm.config import config
from llm.errors import MissingPackage
from llm.messages import ImagePart
from llm.vision.boxes import Box
from llm.vision.picture import LONG, MODEL_SIDE, for_model, open_kept

if TYPE_CHECKING:
    from PIL.Image import Image

_LOCK = threading.Lock()
MIN_STRIP, STRIP_OVERLAP = 640, 320
"""Pixels. A line of text is lower than half the overlap, so that one strip holds it whole."""
MIN_COLUMN_LINES, MIN_COLUMN_WIDTH = 4, 0.2
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
    image = open_kept(part)
    if image.height < LONG * image.width:
        return read_image(for_model(part))
    if image.width > MODEL_SIDE:
        image = image.resize((MODEL_SIDE, round(image.height * MODEL_SIDE / image.width)), reducing_gap=3.0)
    return tuple(_read_in_strips(image))


def _read_in_strips(image: Image) -> Iterator[TextLine]:
    """A long picture's text, strip by strip; a line in two strips is taken from the one where it is farther inside."""
    strip = min(image.height, max(MIN_STRIP, image.width * 3 // 2))
    overlap = min(strip // 4, STRIP_OVERLAP)
    tops = [*range(0, image.height - strip, strip - overlap), image.height - strip]
    for number, top in enumerate(tops):
        begin = (top + tops[number - 1] + strip) / 2 if number else 0
        end = (tops[number + 1] + top + strip) / 2 if number + 1 < len(tops) else image.height
        for line in read_image(image.crop((0, top, image.width, top + strip))):
            middle = top + strip * (line.box.top + line.box.bottom) / 2
            if begin <= middle < end:
                up, down = ((top + strip * edge) / image.height for edge in (line.box.top, line.box.bottom))
                yield replace(line, box=replace(line.box, top=up, bottom=down))


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
    """The text as it stands on the page: column by column, what is side by side in one line, with blanks between."""
    middle = _gutter(lines)
    if middle:
        left = [line for line in lines if line.box.right <= middle]
        top = min(line.box.top for line in lines if line.box.left >= middle or line in left)
        right = [line for line in lines if line.box.left >= middle]
        across = [line for line in lines if line not in left and line not in right]
        above = [line for line in across if line.box.top < top]
        below = [line for line in across if line.box.top >= top]
        return "\n".join(_in_rows(part) for part in (above, left, right, below) if part)
    return _in_rows(lines)


def _gutter(lines: Sequence[TextLine]) -> float:
    """Where two columns of running text part, from 0 to 1; 0 where there are none.

    Both are wide: the names and prices of a receipt, a table's cells, are no columns to be read one after the other.
    """
    for middle in sorted(line.box.left for line in lines if 0.3 < line.box.left < 0.7):
        left = [line.box for line in lines if line.box.right <= middle]
        right = [line.box for line in lines if line.box.left >= middle]
        if min(len(left), len(right)) < MIN_COLUMN_LINES or len(lines) - len(left) - len(right) > len(lines) // 5:
            continue
        widths = [median(box.right - box.left for box in side) for side in (left, right)]
        if min(widths) > MIN_COLUMN_WIDTH:
            return middle
    return 0.0


def _in_rows(lines: Sequence[TextLine]) -> str:
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
