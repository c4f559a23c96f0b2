"""Pictures of a document's pages, drawn by a program of its own: `python -m llm.documents.pictures <folder>`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from llm.documents.errors import DamagedDocument
from llm.errors import ChildFailed
from llm.jobs.child import ChildLimits, Emitter, child_main, run_child

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
