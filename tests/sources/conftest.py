"""A data folder and hub caches of its own for each test, and servers to fetch from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.config import config
from tests.sources import hub_server, index_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith(("HEARTH_", "HF_", "MODELSCOPE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    config.cache_clear()
    yield tmp_path / "home"
    config.cache_clear()


@pytest.fixture
def index(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[index_server.Index]:
    """An empty package index that pip is configured for, and no other."""
    index = index_server.Index()
    server = index_server.serve(index)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    yield index
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """An empty hub at which both libraries are pointed."""
    hub = hub_server.Hub({})
    server = hub_server.serve(hub)
    monkeypatch.setenv("HEARTH_HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HEARTH_MODELSCOPE_ENDPOINT", hub.url)
    config.cache_clear()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A data folder on a disk of 6 MB."""
    disk = home.parent / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs more rights")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def left_in(folder: Path) -> list[str]:
    """Files under a folder, without locks and without job records."""
    kept = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return sorted(
        str(path.relative_to(folder)) for path in kept if path.suffix != ".lock" and ".jobs" not in path.parts
    )
