"""A plan against what then happens, on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.catalogue.entry import Shape
from llm.catalogue.lookup import find
from llm.engines.transformers.loading import open_model
from llm.finetune import plan as planning
from llm.finetune.data import Dataset, Row, save_set
from llm.finetune.lora import Lora
from llm.finetune.plan import Parts, memory, plan, read_rows, smaller, trained_parameters
from llm.finetune.settings import TrainSettings
from llm.finetune.trial import chosen, trial_params
from llm.jobs import jobs
from llm.plan import LoadPlan
from tests.finetune import tiny


def town(rows: int = 40) -> Dataset:
    pairs = [Row.of(f"Who is number {n}?", f"He is the {'very ' * (n % 5)}number {n}.") for n in range(rows)]
    return save_set("town", pairs, (), owner="local")


def test_learnt_numbers_are_counted_as_they_are(data_folder: Path) -> None:
    """SmolLM2-135M at rank 8: 2,442,240 on all layers, 460,800 on queries and values (peft's own count)."""
    from dataclasses import replace

    base = tiny.base(data_folder / "base")
    smol = replace(find(base), shape=Shape(30, 576, 9, 3, 64, 1536, 49152))
    assert trained_parameters(smol, TrainSettings(rank=8)) == 2_442_240
    assert trained_parameters(smol, TrainSettings(rank=8, targets="qv")) == 460_800
    entry = find(base)
    for targets in ("all", "attention", "qv"):
        settings = TrainSettings(rank=4, targets=targets)
        learnt = Lora(open_model(entry, base, LoadPlan(device="cpu", precision="float32")), settings).parameters()
        assert trained_parameters(entry, settings) == sum(p.numel() for p in learnt.values()), targets


def test_a_plan_tells_steps_tokens_and_rows_that_are_left_out(data_folder: Path) -> None:
    entry = find(tiny.base(data_folder / "base"))
    data = save_set("town", [*town().rows, Row.of("Long?", "word " * 300)], (), owner="local")
    settings = TrainSettings(epochs=2, batch_rows=4, max_tokens=160)
    kept, left = read_rows(entry, data.training, settings)
    found = plan(entry, len(data.training), kept, left, settings)
    assert [(one.number, one.left) for one in found.left] == [(41, "long")]
    assert found.rows == 40 and found.steps == 20 and found.seen == 2 and not found.few_steps
    assert found.tokens == 2 * sum(len(row.ids) for row in kept) > found.trained_tokens > 0
    once = plan(entry, len(data.training), kept, left, TrainSettings(epochs=1, batch_rows=4, max_tokens=160))
    assert once.few_steps and once.steps == 10


def test_a_set_of_many_rows_is_read_in_part(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, data, settings = find(tiny.base(data_folder / "base")), town(), TrainSettings()
    whole = plan(entry, 40, *read_rows(entry, data.training, settings), settings)
    monkeypatch.setattr(planning, "READ_ROWS", 20)
    part = plan(entry, 40, *read_rows(entry, data.training, settings), settings)
    assert part.rows == whole.rows and part.steps == whole.steps
    assert abs(part.tokens - whole.tokens) < 0.05 * whole.tokens


def test_what_would_fit_is_found_where_this_does_not(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, settings = find(tiny.base(data_folder / "base")), TrainSettings(batch_rows=32)
    kept, _ = read_rows(entry, town().training, settings)
    lean = memory(entry, kept, TrainSettings(batch_rows=1, accumulation=32, checkpointing=True)).total
    assert lean < memory(entry, kept, settings).total
    monkeypatch.setattr(planning, "available", lambda *_: lean)
    other = smaller(entry, kept, settings)
    assert other is not None and other.step_rows == 32 and other.checkpointing
    monkeypatch.setattr(planning, "available", lambda *_: 0)
    assert smaller(entry, kept, settings) is None


def test_two_steps_are_tried_and_tell_time_and_peak(data_folder: Path) -> None:
    entry, data, settings = find(tiny.base(data_folder / "base")), town(), TrainSettings(batch_rows=4, epochs=10)
    kept, left = read_rows(entry, data.training, settings)
    before = plan(entry, len(data.training), kept, left, settings)
    assert before.seconds is None and not before.measured
    job = jobs().start("finetune.trial", "trial", trial_params(entry, data, settings, kept, "k"))
    ended = jobs().wait(job.id, 120)
    assert ended is not None and ended.state == "done", ended
    found = before.tried(ended.result)
    assert ended.result["key"] == "k" and found.measured and found.seconds is not None and found.seconds > 0
    assert found.parts.total == pytest.approx(ended.result["peak_bytes"], rel=0.01) and found.parts.total > 50 << 20
    assert not list((data_folder / "finetune").glob("runs/*")), "a trial is no run"


def test_a_trial_has_the_longest_row_and_some_of_all_lengths() -> None:
    rows = [Row.of(str(n), "a") for n in range(100)]
    picked = chosen(rows, list(range(100)), 4)
    assert len(picked) == 12 and picked[0].prompt == "99" and int(picked[-1].prompt) < 10
    assert chosen(rows[:1], [5], 8) == rows[:1]


def test_parts_add_up() -> None:
    assert Parts(1, 2, 3, 4, 5, 6, 7).total == 28
