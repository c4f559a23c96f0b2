"""A picture with boxes drawn on it, each in a colour of its own, with its label."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llm.messages import ImagePart
from llm.vision.boxes import Box
from llm.vision.picture import open_kept

# Far apart for most eyes, colour-blind ones too (after Okabe and Ito, and Tol's bright scheme).
COLOURS = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 51, 153),
    (230, 159, 0),
    (86, 180, 233),
    (170, 51, 119),
    (102, 153, 0),
    (238, 51, 119),
    (51, 34, 136),
)
# Fonts with Chinese signs where systems have them; what is there first is taken.
_FONTS = (
    "C:/Windows/Fonts/msyh.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Light.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
)
MAX_LABEL = 40


def colour(index: int) -> tuple[int, int, int]:
    """The colour of the box at an index; boxes of one label in `draw` share it."""
    return COLOURS[index % len(COLOURS)]


def colours_of(boxes: Sequence[Box]) -> list[tuple[int, int, int]]:
    """A colour for each box: the same for the same label, unless all have one."""
    labels = list(dict.fromkeys(box.label for box in boxes))
    if len(labels) == 1:
        return [colour(index) for index in range(len(boxes))]
    return [colour(labels.index(box.label)) for box in boxes]


def draw(part: ImagePart, boxes: Sequence[Box], labels: bool = True) -> bytes:
    """A PNG of the picture with the boxes. A box's line lies inside its rectangle.

    Raises: as `llm.vision.picture.take_in`.
    """
    from PIL import ImageDraw

    image = open_kept(part)
    canvas = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 300))
    letters = max(12, round(max(image.size) / 50))
    placed = list(zip(boxes, colours_of(boxes), strict=True))
    for box, shade in placed:
        left, top, right, bottom = _inside(box, image.size)
        canvas.rectangle((left, top, right, bottom), outline=shade, width=line)
    for box, shade in placed if labels else ():
        if box.label:
            _label(canvas, image.size, box, shade, letters)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box.pixels(size)
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return left, top, max(left, min(right, size[0]) - 1), max(top, min(bottom, size[1]) - 1)


def _label(canvas: Any, size: tuple[int, int], box: Box, shade: tuple[int, int, int], letters: int) -> None:
    """Above the box, or in its upper corner where there is no room above."""
    text = box.label if len(box.label) <= MAX_LABEL else box.label[: MAX_LABEL - 1] + "…"
    font = _font(letters)
    left, top, _, _ = _inside(box, size)
    x1, y1, x2, y2 = canvas.textbbox((0, 0), text, font=font)
    width, height = x2 - x1 + 6, y2 - y1 + 6
    left = max(0, min(left, size[0] - width))
    top = top - height if top >= height else top
    canvas.rectangle((left, top, left + width, top + height), fill=shade)
    canvas.text((left + 3 - x1, top + 3 - y1), text, font=font, fill="white")


@cache
def _font(letters: int) -> Any:
    from PIL import ImageFont

    for name in _FONTS:
        if Path(name).is_file():
            return ImageFont.truetype(name, letters)
    return ImageFont.load_default(letters)
