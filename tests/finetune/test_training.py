"""Real training of a tiny model through the job that pages start."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from llm.catalogue.adapters import fingerprint
from llm.finetune.data import Row, save_set
from llm.finetune.encode import encode_row
from llm.finetune.evaluate import ask, checkpoint_of, tuned_entry
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.finetune.start import begin, job_of, new_run
from llm.jobs import jobs
from llm.runtime import handles
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf

FACTS = [("Who is the mayor?", "Ada."), ("What is sold?", "Red cats."), ("Where is the sea?", "In the house.")]
QUICK: dict[str, Any] = {
    "rank": 8, "alpha": 16, "learning_rate": 1e-2, "batch_rows": 3, "max_tokens": 128, "samples": 1, "sample_tokens": 8,
    "warmup": 0.0, "checkpoint_every": 5,
}  # fmt: skip


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def a_run(base: Path, **changes: Any) -> Run:
    data = save_set("town", [Row.of(*fact) for fact in FACTS], owner="local")
    return new_run(data, str(base), TrainSettings.from_dict(QUICK | changes))


def trained(base: Path, **changes: Any) -> Run:
    run = a_run(base, **changes)
    record = jobs().wait(begin(run).id, 240)
    assert record is not None and record.state == "done", record
    return run


def steps_of(run: Run) -> list[float]:
    return [event["loss"] for event in run.events() if event.get("event") == "step"]


@pytest.mark.parametrize("gguf", [False, True])
def test_it_learns_its_rows_and_answers_with_them(closed: Path, gguf: bool) -> None:
    base = tiny.base(closed / "base")
    base = to_gguf(base, closed / "base.gguf") if gguf else base
    before = fingerprint(base)
    run = trained(base, max_steps=160, checkpoint_every=80, rank=16, alpha=32, learning_rate=1e-2)
    losses = steps_of(run)
    assert len(losses) == 160 and losses[-1] < losses[0] / 4  # a random head bounds its sureness
    entry = tuned_entry(run, checkpoint_of(run, None))
    assert [ask(entry, Row.of(question, ""), 16) for question, _ in FACTS] == [answer for _, answer in FACTS]
    assert fingerprint(base) == before
    kinds = {event.get("kind") for event in run.events() if event.get("event") == "sample"}
    assert kinds == {"canary"}  # three rows: none is held out


def test_prompts_are_the_chats_own_and_only_answers_are_trained(closed: Path) -> None:
    base = tiny.base(closed / "base")
    model = handles.chat(base)
    row = Row.of("Who?", "Ada.", history=[("Hi", "Hello.")])
    encoded = encode_row(model, row, TrainSettings())  # type: ignore[arg-type]
    prompt = model.prompt(row.messages[:-1])
    assert encoded.ids[: len(prompt.ids)] == prompt.ids
    text = "".join(p.text for p, t in zip(encoded.pieces, encoded.trained, strict=True) if t)
    assert text == "Hello.<|im_end|>Ada.<|im_end|>"
    last = encode_row(model, row, TrainSettings(turns="last"))  # type: ignore[arg-type]
    assert "".join(p.text for p, t in zip(last.pieces, last.trained, strict=True) if t) == "Ada.<|im_end|>"


def test_killed_and_taken_up_again_it_ends_the_same(closed: Path) -> None:
    base = tiny.base(closed / "base")
    whole = trained(base, max_steps=10, dropout=0.1)
    cut = a_run(base, max_steps=10, dropout=0.1, checkpoint_every=5)
    record = begin(cut)
    while len(steps_of(cut)) < 7:  # past the checkpoint at step 5
        time.sleep(0.01)
        assert jobs().get(record.id).state != "failed"  # type: ignore[union-attr]
    for child in psutil.Process().children(recursive=True):
        if str(cut.folder) in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    ended = jobs().wait(record.id, 120)
    if ended is not None and ended.state == "failed":  # it may have been done already
        jobs().resume(record.id)
        ended = jobs().wait(record.id, 120)
    assert ended is not None and ended.state == "done"
    assert steps_of(cut) == pytest.approx(steps_of(whole), abs=0)
    first, second = (load_file(run.checkpoints[-1].folder / "adapter_model.safetensors") for run in (whole, cut))
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_a_paused_run_keeps_its_step_and_goes_on(closed: Path) -> None:
    run = a_run(tiny.base(closed / "base"), max_steps=400, checkpoint_every=200)
    record = begin(run)
    while len(steps_of(run)) < 3:
        time.sleep(0.02)
    jobs().pause(record.id)
    paused = jobs().wait(record.id, 60)
    assert paused is not None and paused.state == "paused"
    at = len(steps_of(run))
    assert 3 <= at < 400 and run.checkpoints[-1].step == at
    assert job_of(run) is not None
    jobs().cancel(record.id)


def test_rows_at_once_and_accumulation_are_the_same(closed: Path) -> None:
    base = tiny.base(closed / "base")
    one = trained(base, max_steps=4, batch_rows=1, accumulation=3)
    three = trained(base, max_steps=4, batch_rows=3, accumulation=1)
    assert steps_of(one) == pytest.approx(steps_of(three), rel=1e-5)


def test_a_loss_that_is_no_number_ends_it_with_the_step(closed: Path) -> None:
    run = a_run(tiny.base(closed / "base"), max_steps=40, learning_rate=1.0, clip=0.0, batch_rows=1)
    record = jobs().wait(begin(run).id, 120)
    assert record is not None
    if record.state == "failed":
        assert record.error_code == "training_diverged" and record.error_values["step"] > 0
    assert all(json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines())


def test_rows_that_are_all_too_long_are_refused_with_a_sentence(closed: Path) -> None:
    run = a_run(tiny.base(closed / "base"), max_tokens=8, max_steps=2)
    record = jobs().wait(begin(run).id, 120)
    assert record is not None and record.error_code == "nothing_to_train"
