"""Pictures of a document's pages, drawn by a program of its own: `python -m llm.documents.pictures <folder>`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.documents.document import Box
from llm.documents.errors import DamagedDocument
from llm.errors import ChildFailed
from llm.jobs.child import ChildLimits, Emitter, child_main, run_child

MARKER = (255, 236, 128)
AROUND = 0.12
"""Of a page's height that is shown above and below what is lit."""
_LIMITS = ChildLimits(memory_bytes=1 << 30, wall_s=60)


def page_picture(path: Path, name: str, number: int, width: int = 1000) -> bytes:
    """A PDF's page as PNG, so many pixels wide. Boxes of its blocks are in points: times `width` over the page's width.

    Raises:
        DamagedDocument: it cannot be drawn. ChildTookTooLong, ChildTookTooMuch: it takes too much.
    """
    with tempfile.TemporaryDirectory(prefix="hearth-page-", ignore_cleanup_errors=True) as folder:
        params = {"path": str(path.resolve()), "number": number, "width": width}
        try:
            run_child("llm.documents.pictures", params, Path(folder), limits=_LIMITS)
        except ChildFailed as error:
            raise DamagedDocument(name=name, kind="PDF", detail=error.values["detail"]) from error
        return (Path(folder) / "page.png").read_bytes()


def lit(picture: bytes, boxes: Sequence[Box], size: tuple[float, float]) -> bytes:
    """A page's picture as PNG with places lit, as with a marker, and what stands around them.

    Args:
        boxes: in the unit of `size`, the page's width and height. Without any the whole page is given.
    """
    from PIL import Image, ImageChops, ImageDraw

    with Image.open(io.BytesIO(picture)) as opened:
        page = opened.convert("RGB")
    across, down = page.width / size[0], page.height / size[1]
    ink = Image.new("RGB", page.size, "white")
    pen = ImageDraw.Draw(ink)
    for left, top, right, bottom in boxes:
        place = (left * across - 2, top * down - 2, right * across + 2, bottom * down + 2)
        pen.rounded_rectangle(place, radius=4, fill=MARKER, outline=(214, 160, 0), width=1)
    out = io.BytesIO()
    drawn = ImageChops.multiply(page, ink)
    if boxes:
        room = AROUND * page.height
        top = max(0.0, min(box[1] for box in boxes) * down - room)
        bottom = min(float(page.height), max(box[3] for box in boxes) * down + room)
        drawn = drawn.crop((0, int(top), page.width, int(bottom)))
    drawn.save(out, "PNG")
    return out.getvalue()


def draw(emitter: Emitter) -> dict[str, Any]:
    """Writes `page.png` into the folder in which the two programs speak."""
    import pypdfium2

    from llm.documents.pdf import picture

    pdf = pypdfium2.PdfDocument(emitter.params["path"])
    page = pdf[emitter.params["number"] - 1]
    image = picture(page, 72 * emitter.params["width"] / page.get_width())
    image.save(emitter.folder / "page.png")
    return {"size": image.size}


if __name__ == "__main__":
    child_main(draw)
