"""Text in pictures: single ones, and pages of which there is only a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm.documents.document import Page
from llm.documents.layout import Layout, Segment
from llm.documents.source import Source
from llm.vision.ocr import read_image
from llm.vision.picture import for_model, take_in


def segments_in(image: Any, width: float, height: float) -> list[Segment]:
    """The text in an image, with boxes on a page of that size."""
    segments = []
    for line in read_image(image):
        box = (line.box.left * width, line.box.top * height, line.box.right * width, line.box.bottom * height)
        segments.append(Segment(line.text, box, round(0.8 * (box[3] - box[1]), 1)))
    return segments


def read(source: Source) -> Iterator[Page]:
    """The text in a picture, as one page. Raises ModelError, see `llm.vision.picture.take_in`."""
    image = for_model(take_in(source.path.read_bytes(), source.name).part)
    width, height = image.size
    segments = segments_in(image, width, height)
    source.note("ocr_picture")
    yield Page(1, "1", tuple(Layout(coarse=True).blocks(segments)), ocr=True, size=(width, height))
