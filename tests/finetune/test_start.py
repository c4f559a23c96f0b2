"""A run's folder before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.catalogue.adapters import fingerprint
from llm.errors import UnknownModel
from llm.finetune.data import Row, save_set
from llm.finetune.run import get_run
from llm.finetune.settings import TrainSettings
from llm.finetune.start import job_of, new_run
from tests.finetune import tiny


def test_a_run_holds_its_rows_and_what_they_were(data_folder: Path) -> None:
    model = tiny.base(data_folder / "base")
    data = save_set("小镇", [Row.of(f"问题 {n}", f"答案 {n}") for n in range(20)], owner="ada")
    run = get_run(new_run(data, str(model), TrainSettings(rank=4), owner="ada").id, "ada")
    asked = run.config
    assert (asked.rows, asked.held_out, asked.data_hash) == (18, 2, data.hash)
    assert asked.base_fingerprint == fingerprint(model) and asked.name == "小镇" and asked.versions["torch"]
    lines = (run.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [row.to_dict() | {"number": row.number} for row in data.training]
    assert job_of(run) is None and run.checkpoints == []


def test_a_base_that_is_not_here_is_named(data_folder: Path) -> None:
    data = save_set("x", [Row.of("a", "b")])
    with pytest.raises(UnknownModel, match="nowhere"):
        new_run(data, "nowhere", TrainSettings())
