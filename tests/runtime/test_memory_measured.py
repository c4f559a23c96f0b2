"""Estimates against what a process really takes: each engine, several shapes, within 15 percent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import fetched
from tests.runtime.shapes import Size, write_checkpoint, write_clip, write_gguf, write_gptq, write_whisper

ROOT = Path(__file__).resolve().parents[2]
SMALL = Size(layers=8, hidden=512, heads=8, kv_heads=2, intermediate=1408, vocab=8192)
DEEP = Size(layers=12, hidden=1024, heads=16, kv_heads=4, intermediate=2816, vocab=16384)
WIDE = Size(layers=6, hidden=1536, heads=12, kv_heads=12, intermediate=4096, vocab=32000)
NARROW_WHISPER = Size(layers=4, hidden=384, heads=6, kv_heads=6, intermediate=1536)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted differently elsewhere")


def measured(engine: str, path: Path, precision: str = "auto", context: int = 0, prompt: int = 0) -> dict[str, Any]:
    """Estimate and measurement of one model, loaded and answering in a process of its own."""
    asked = {
        "engine": engine,
        "path": str(path),
        "precision": precision,
        "context_tokens": context,
        "prompt_tokens": prompt,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.measure_memory"],
        input=json.dumps(asked), text=True, capture_output=True, timeout=280, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HEARTH_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(found: dict[str, Any]) -> None:
    error = found["estimated"] / found["peak"] - 1
    test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
    print(f"{test}: estimated {found['estimated'] >> 20} MiB, measured {found['peak'] >> 20} MiB, {error:+.1%}")
    assert abs(error) < 0.15, found


@pytest.mark.parametrize(
    ("size", "kind", "context"),
    [
        (SMALL, "F16", 2048),
        (SMALL, "Q8_0", 4096),
        (DEEP, "F16", 4096),
        (DEEP, "Q4_0", 2048),
        (DEEP, "Q4_K", 1024),
        (WIDE, "Q8_0", 1024),
    ],
)
def test_gguf(tmp_path: Path, size: Size, kind: str, context: int) -> None:
    check(measured("llamacpp", write_gguf(tmp_path / "shape.gguf", size, kind), context=context, prompt=600))


def test_the_starter_chat_model(starter_file: Path) -> None:
    check(measured("llamacpp", starter_file, context=4096, prompt=300))


@pytest.fixture(scope="module")
def deep_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("deep") / "model", DEEP)


@pytest.fixture(scope="module")
def wide_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("wide") / "model", WIDE)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "context"), [("float32", 1024), ("bfloat16", 384), ("int8", 256), ("int4", 256)])
def test_deep_checkpoint(deep_checkpoint: Path, precision: str, context: int) -> None:
    check(measured("transformers", deep_checkpoint, precision, context, context - 40))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "context"), [("float32", 512), ("int8", 256), ("int4", 256)])
def test_wide_checkpoint(wide_checkpoint: Path, precision: str, context: int) -> None:
    check(measured("transformers", wide_checkpoint, precision, context, context - 40))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "bits", "context"), [(DEEP, 4, 512), (WIDE, 4, 256), (DEEP, 8, 512), (WIDE, 8, 256)])
def test_gptq(tmp_path: Path, size: Size, bits: int, context: int) -> None:
    check(measured("transformers", write_gptq(tmp_path / "gptq", size, bits), "file", context, context - 40))


@pytest.fixture(scope="module")
def whisper_base() -> Path:
    return fetched("faster-whisper-base")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_whisper_base(whisper_base: Path, precision: str) -> None:
    check(measured("whisper", whisper_base, precision))


@pytest.mark.slow
def test_a_whisper_that_never_comes_to_an_end(whisper_base: Path, tmp_path: Path) -> None:
    """Random weights write as many tokens as a window may have, in every window."""
    check(measured("whisper", write_whisper(tmp_path / "whisper", NARROW_WHISPER, whisper_base), "int8"))


@pytest.mark.slow
def test_clip(tmp_path: Path) -> None:
    check(measured("clip", write_clip(tmp_path / "clip", WIDE)))
