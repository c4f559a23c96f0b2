from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.config import config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder and hub caches of the test's own."""
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "huggingface"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    config.cache_clear()
    yield tmp_path / "home"
    config.cache_clear()
