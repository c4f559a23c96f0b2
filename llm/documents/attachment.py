"""A document as a text that goes along with a message."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from llm.cancel import Cancel
from llm.documents.document import Document, Page
from llm.documents.kinds import KINDS
from llm.documents.reading import read_document
from llm.documents.source import Limits
from llm.messages import DocumentPart

LIMITS = Limits(file_bytes=64 << 20, characters=4_000_000, ocr_pages=20, wall_s=300)
"""More than any model's context holds."""


def attachment_of(
    name: str, data: bytes, cancel: Cancel | None = None, on_page: Callable[[Page], None] | None = None
) -> DocumentPart:
    """The words of a file's bytes. Raises DocumentUnreadable and its kinds, Cancelled."""
    with tempfile.TemporaryDirectory(prefix="hearth-attachment-") as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        return DocumentPart(name, as_text(read_document(path, name, LIMITS, cancel, on_page)))


def as_text(document: Document) -> str:
    """The words of a document, with the labels of its pages where people know them by these."""
    by_page = KINDS[document.kind].page in ("page", "slide", "rows", "time") and len(document.pages) > 1
    texts = (
        f"--- {page.label} ---\n{page.text}" if by_page and page.label else page.text
        for page in document.pages
        if page.blocks
    )
    return "\n\n".join(texts) if by_page else "\n".join(texts)
