"""The stand-in for NVIDIA's library, and Python programs run with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RunWithGpus = Callable[..., str]


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libnvidia-ml.so.1 built from nvml_standin.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("NO C COMPILER (or not Linux): GPU readings are NOT tested here")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_standin.c")
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(folder / "libnvidia-ml.so.1"), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return folder


@pytest.fixture
def run_with_gpus(nvml_folder: Path) -> RunWithGpus:
    """Runs Python code in a process whose NVIDIA library is the stand-in; returns what it printed."""

    def run(code: str, **environment: str) -> str:
        whole = {**os.environ, "LD_LIBRARY_PATH": str(nvml_folder), "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code], env=whole, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
