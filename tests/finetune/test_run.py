"""A run's folder as others read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.errors import NotFound
from llm.finetune.run import RunConfig, all_runs, create_run, get_run, light, read_events, settled
from llm.finetune.settings import CHATGLM_PREFIX, GOALS, TrainSettings, changed, preset, train_controls


def looked(*losses: float) -> list[dict[str, object]]:
    return [{"event": "look", "step": step, "held_out_loss": loss} for step, loss in enumerate(losses)]


def test_a_run_tells_what_was_asked_for(data_folder: Path) -> None:
    asked = RunConfig("我的 Town", "base", "f00", TrainSettings(rank=4, max_answer_tokens=64), owner="ada", rows=3)
    run = create_run(asked)
    read = get_run(run.id, "ada").config
    assert read.settings == asked.settings and read.name == "我的 Town" and read.created_at > 0
    assert [found.id for found in all_runs("ada")] == [run.id] and not all_runs()
    with pytest.raises(NotFound):
        get_run(run.id, "bob")
    with pytest.raises(NotFound):
        get_run("../sets", "ada")


def test_the_best_checkpoint_is_the_one_that_was_marked(data_folder: Path) -> None:
    run = create_run(RunConfig("town", "base", "", TrainSettings()))
    assert run.best is None
    for step in (10, 200, 30):
        (run.folder / "checkpoints" / f"{step:08d}").mkdir(parents=True)
    (run.folder / "checkpoints" / ".00000300.new").mkdir()
    assert [checkpoint.step for checkpoint in run.checkpoints] == [10, 30, 200]
    assert run.best is not None and run.best.step == 200
    (run.folder / "best").write_text("30", encoding="utf-8")
    assert run.best.step == 30


def test_steps_that_a_killed_program_lost_are_told_once(tmp_path: Path) -> None:
    told = [{"event": "step", "step": n} for n in (1, 2, 3)]
    told += [{"event": "resumed", "step": 2}, {"event": "step", "step": 3}, {"event": "step", "step": 4}]
    file = tmp_path / "events.jsonl"
    lines = "".join(json.dumps(event) + "\n" for event in told)
    file.write_text(
        lines.replace('"step": 1}', '"st\n{"event": "step", "step": 1}') + '{"event": "st', encoding="utf-8"
    )
    assert [event["step"] for event in settled(read_events(file))] == [1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ((3.0,), "unknown"),
        ((3.0, 2.5, 2.0), "learning"),
        ((3.0, 2.0, 2.02), "learning"),
        ((3.0, 2.0, 2.2), "watch"),
        ((3.0, 2.0, 2.2, 2.4), "overfit"),
        ((3.0, 2.0, 2.4, 1.9), "learning"),
    ],
)
def test_the_light_turns_when_held_out_rows_get_worse(losses: tuple[float, ...], says: str) -> None:
    assert light(looked(*losses)) == says


def test_goals_set_everything_within_what_may_be_set() -> None:
    for goal in GOALS:
        for rows, parameters in ((3, 0), (60, 135_000_000), (5000, 7_000_000_000)):
            settings = preset(goal, rows, parameters)
            assert TrainSettings.from_dict(settings.to_dict()) == settings
    assert preset("answers", 60).epochs * 60 / preset("answers", 60).step_rows >= 100, (
        "few rows still make enough steps"
    )
    assert changed(CHATGLM_PREFIX)["learning_rate"] == 2e-2
    with pytest.raises(ValueError, match="rank"):
        TrainSettings.from_dict({"rank": 0})
    assert {control.name for control in train_controls()} == set(TrainSettings().to_dict())
