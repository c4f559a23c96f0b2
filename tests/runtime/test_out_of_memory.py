"""Memory that really runs out, by a limit on the process: the request ends with advice, and the next one works."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm.engines.captured_stderr import Overheard
from tests.runtime.shapes import Size, write_checkpoint, write_gguf

ROOT = Path(__file__).resolve().parents[2]
SMALL = Size(layers=12, hidden=512, heads=8, kv_heads=8, intermediate=1024, vocab=8192)
MB = 10**6

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set with setrlimit and enforced by Linux")


def happened(home: Path, scenario: str, *arguments: Path | int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.under_limits", scenario, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "HEARTH_HOME": str(home), "HEARTH_THREADS": "1", "OMP_NUM_THREADS": "1",
             "MALLOC_MMAP_THRESHOLD_": "65536"},  # so that an allocation is address space, not left over from another
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_advice(told: dict[str, Any], *codes: str) -> None:
    """What people read has the numbers and a way out."""
    assert told.get("code") in codes, told
    assert told["needed"] in told["sentence"] and told["free"] in told["sentence"]
    if told["code"] != "too_big":
        assert told["fitting_bytes"] < told["needed_bytes"]
        assert f"{told['context_tokens']} tokens" in told["sentence"] and told["precision"] in told["sentence"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("limits") / "small", SMALL)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 400 MB, as a container has it."""
    for base, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = Path("/sys/fs/cgroup", base, f"hearth-test-{os.getpid()}")
        try:
            folder.mkdir()
            (folder / name).write_text(str(400 * MB))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("CONTROL GROUPS cannot be made here (not root?): their limits are NOT tested")


def test_in_a_container_it_is_refused_and_what_is_advised_works(
    tmp_path: Path, starter_file: Path, group: Path
) -> None:
    found = happened(tmp_path, "group", starter_file, group)
    check_advice(found["first"], "not_enough_memory")
    assert found["next"].get("done", 0) > 0, found["next"]


def test_what_a_library_says_is_heard_and_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with Overheard() as said:
        os.write(2, b"insufficient memory\n")
    os.write(2, b"later\n")
    assert said.text == "insufficient memory\n"
    assert capfd.readouterr().err == "insufficient memory\nlater\n"


def test_llama_cpp_runs_out_while_loading(tmp_path: Path, starter_file: Path) -> None:
    found = happened(tmp_path, "loading", starter_file, 250 * MB)
    check_advice(found["first"], "not_enough_memory", "too_big")
    assert found["loaded"] == 0 and found["kept_bytes"] < 60 * MB and found["next"] > 0


def test_transformers_runs_out_while_loading(tmp_path: Path, checkpoint: Path) -> None:
    found = happened(tmp_path, "loading", checkpoint, 60 * MB)
    check_advice(found["first"], "not_enough_memory", "too_big")
    assert found["loaded"] == 0 and found["kept_bytes"] < 60 * MB and found["next"] > 0


def test_transformers_runs_out_while_answering(tmp_path: Path, checkpoint: Path) -> None:
    found = happened(tmp_path, "answering", checkpoint, 5 * MB)
    check_advice(found["first"], "ran_out", "too_big")
    assert found["kept_bytes"] < 5 * MB and found["next"] > 0


def test_llama_cpp_has_set_aside_what_an_answer_takes(tmp_path: Path, starter_file: Path) -> None:
    found = happened(tmp_path, "answering", starter_file, 12 * MB, 400)
    assert found["first"]["done"] > 0 and found["next"] > 0


def test_a_model_that_answers_stays_and_an_idle_one_makes_room(tmp_path: Path, starter_file: Path) -> None:
    second = write_gguf(tmp_path / "second.gguf", SMALL, "F16")
    found = happened(tmp_path, "two", starter_file, second)
    check_advice(found["refused"], "not_enough_memory", "too_big")
    assert found["rest"] > 0
    assert "done" in found["then"], found["then"]
    assert found["loaded"] == ["second"]
