"""What every test may use: a data folder of its own, and the starter chat model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before a library reads it: threads of two workers would wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"

from llm.catalogue.lookup import find
from llm.config import config
from llm.sources import fetch

STARTER = "smollm2-135m-instruct-q4_1"


@contextmanager
def in_test_cache() -> Iterator[None]:
    """What is fetched meanwhile is kept in HEARTH_TEST_CACHE or the default data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEARTH_HOME", raising=False)
        if cache := os.environ.get("HEARTH_TEST_CACHE"):
            patch.setenv("HEARTH_HOME", cache)
        config.cache_clear()
        try:
            yield
        finally:
            config.cache_clear()


def fetched(model_id: str) -> Path:
    """A model's file or folder, fetched once."""
    with in_test_cache():
        return fetch(find(model_id))


@pytest.fixture(scope="session")
def starter_file() -> Path:
    """The starter chat model."""
    return fetched(STARTER)


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder that the configuration points to."""
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path))
    config.cache_clear()
    yield tmp_path
    config.cache_clear()


def give_starter(home: Path, starter: Path) -> None:
    """Puts the starter model into a data folder without copying it."""
    folder = home / "models" / STARTER
    folder.mkdir(parents=True)
    (folder / starter.name).symlink_to(starter)


@pytest.fixture
def home_with_starter(data_folder: Path, starter_file: Path) -> Path:
    """A data folder in which the starter chat model is there."""
    give_starter(data_folder, starter_file)
    return data_folder
