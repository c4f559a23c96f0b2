"""Engines on tiny checkpoints, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_checkpoints
from tiny_engines import load

from llm.config import config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path / "home"))
    config.cache_clear()
    yield
    config.cache_clear()


@pytest.fixture(scope="module")
def engine_of(tmp_path_factory) -> Iterator[Callable]:
    """Makes and loads the tiny checkpoint of an architecture; the same one each time."""
    engines: dict[str, object] = {}

    def get(kind: str):
        if kind not in engines:
            folder = tmp_path_factory.mktemp(kind.replace(" ", "-"))
            engines[kind] = load(tiny_checkpoints.save_checkpoint(folder, kind))
        return engines[kind]

    yield get
    for engine in engines.values():
        engine.close()
