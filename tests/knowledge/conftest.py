"""A library in a data folder of its own, with what is read kept at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm.jobs import jobs
from llm.knowledge import reading
from llm.knowledge.library import Library
from llm.knowledge.values import KnownDocument


@pytest.fixture
def library(data_folder: Path) -> Library:
    return Library("ann")


@pytest.fixture
def add(library: Library) -> Callable[..., KnownDocument]:
    """Adds a document to a base and waits until it has been read."""

    def add_it(base_id: str, name: str, text: str | bytes) -> KnownDocument:
        document = library.add(base_id, name, text if isinstance(text, bytes) else text.encode())
        ended = jobs().wait(reading.start(library, base_id).id, 60)
        assert ended is not None and ended.state == "done", ended
        return library.document(document.id)

    return add_it
