"""Real photos, and the catalogue's networks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from llm.catalogue.lookup import find
from llm.runtime import handles
from tests.conftest import fetched
from tests.tasks.photos import photos

__all__ = ["photos"]


@pytest.fixture(scope="session")
def network() -> Iterator[Callable[[str], Any]]:
    """`network("u2netp")`: the loaded network of a catalogue id, fetched once."""

    def of(model_id: str) -> Any:
        with handles.task_model(replace(find(model_id), path=fetched(model_id))).in_use() as loaded:
            return loaded

    yield of
    handles.registry().close_all()
