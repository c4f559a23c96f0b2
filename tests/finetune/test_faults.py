"""What breaks in a run ends in a sentence, and what was learnt stays."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.finetune.data import Row, save_set
from llm.finetune.errors import CheckpointFailed, TrainingOutOfMemory
from llm.finetune.objectives import Answers
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.finetune.start import begin, new_run
from llm.finetune.trainer import train
from llm.jobs import jobs
from llm.jobs.child import Emitter
from llm.runtime import handles
from tests.finetune import tiny

ROWS = [Row.of("Who is the mayor?", "Ada."), Row.of("What is sold?", "Red cats."), Row.of("Where?", "In the house.")]
QUICK: dict[str, Any] = {"max_steps": 10, "checkpoint_every": 5, "samples": 0, "batch_rows": 4, "max_tokens": 128}


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def a_run(base: Path, **changes: Any) -> Run:
    return new_run(save_set("rows", ROWS, (), owner="local"), str(base), TrainSettings.from_dict(QUICK | changes))


def go_on(run: Run) -> None:
    (run.folder / "params.json").write_text("{}", encoding="utf-8")
    train(Emitter(run.folder))


@pytest.mark.skipif(sys.platform == "win32", reason="files are not bounded there")
def test_a_checkpoint_that_does_not_fit_is_not_half_there_and_the_run_goes_on(closed: Path) -> None:
    import resource

    run = a_run(tiny.base(closed / "base"), rank=64)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # no file may be longer, as on a full disk
    try:
        with pytest.raises(CheckpointFailed) as raised:
            go_on(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (raised.value.values["step"], raised.value.values["kept"]) == (5, 0)
    assert not list((run.folder / "checkpoints").iterdir())
    go_on(run)
    assert [checkpoint.step for checkpoint in run.checkpoints] == [5, 10]


def test_memory_that_runs_out_is_told_with_what_takes_less(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tiny.base(closed / "base"))
    backward, steps = Answers.backward, []

    def greedy(self: Answers, rows: Any) -> float:
        steps.append(rows)
        if len(steps) == 7:
            torch.empty(1 << 50, dtype=torch.uint8)  # the allocator itself says no
        return backward(self, rows)

    monkeypatch.setattr(Answers, "backward", greedy)
    with pytest.raises(TrainingOutOfMemory) as raised:
        go_on(run)
    values = raised.value.values
    assert (values["step"], values["kept"], values["fewer"], values["passes"]) == (7, 5, 2, 2)
    monkeypatch.undo()
    go_on(run)
    assert run.checkpoints[-1].step == 10


def test_a_second_run_waits_for_the_first(closed: Path) -> None:
    base = tiny.base(closed / "base")
    first, second = a_run(base, max_steps=4000, checkpoint_every=4000), a_run(base)
    begun, waits = begin(first), begin(second)
    while not any(event["event"] == "step" for event in first.events()):
        time.sleep(0.05)
    record = jobs().get(waits.id)
    assert record is not None and record.active and record.state != "running" and not second.events()
    jobs().cancel(begun.id)
    ended = jobs().wait(waits.id, 60)
    assert ended is not None and ended.state == "done" and second.checkpoints[-1].step == 10
