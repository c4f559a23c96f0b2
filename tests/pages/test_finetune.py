"""The Fine-tune page on folders as training leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from llm.finetune.data import Row, load_set, save_set
from llm.finetune.run import Run
from tests.finetune.test_evaluate import with_held_out

EVENTS: list[dict[str, Any]] = [
    {"event": "started"},
    {"event": "look", "step": 0, "held_out_loss": 3.0, "canary_loss": 2.0},
    {"event": "sample", "step": 0, "question": "Who?", "answer": "?", "reference": "Ada", "kind": "held_out"},
    *(
        {"event": "step", "step": n, "loss": 3 - n / 5, "rate": 1e-3, "grad_norm": 1.0, "tokens": 9, "tokens_per_s": 50,
         "epoch": n / 2}
        for n in (1, 2, 3)
    ),
    {"event": "look", "step": 3, "held_out_loss": 2.0, "canary_loss": 2.1},
    {"event": "sample", "step": 3, "question": "Who?", "answer": "Ada", "reference": "Ada", "kind": "held_out"},
    {"event": "finished", "step": 3},
]  # fmt: skip


def told(app: AppTest) -> str:
    assert not app.exception, app.exception
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "title", "subheader")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))


@pytest.fixture
def run(data_folder: Path) -> Run:
    made = with_held_out(data_folder)
    (made.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return made


def test_an_empty_page_says_what_to_do_first(open_page: Callable[[str], AppTest]) -> None:
    app = open_page("finetune")
    assert "No rows yet" in told(app)
    app.segmented_control(key="finetune.section").set_value("begin").run()
    assert "First give rows" in told(app)
    app.segmented_control(key="finetune.section").set_value("runs").run()
    assert "No run yet" in told(app)


def test_a_runs_folder_is_all_that_the_page_needs(run: Run, open_page: Callable[[str], AppTest]) -> None:
    app = open_page("finetune")
    app.segmented_control(key="finetune.section").set_value("runs").run()
    app.button(key=f"open_{run.id}").click().run()
    said = told(app)
    assert "It learns" in said and "After step" not in said
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Step"] == "3" and metrics["Held-out loss"] == "2.000"
    assert "Ada" in str(app.table[0].value) and "?" in str(app.table[0].value)
    app.text_input(key="adapter_name").set_value("my town")
    app.button(key="use_in_chat").click().run()
    assert "letters, digits" in told(app)
    app.text_input(key="adapter_name").set_value("town")
    app.button(key="use_in_chat").click().run()
    assert "@town" in told(app)


def test_every_value_is_shown_and_a_plan_warns(data_folder: Path, open_page: Callable[[str], AppTest]) -> None:
    from dataclasses import replace

    from llm.catalogue import lookup
    from tests.finetune import tiny

    lookup.add(replace(lookup.find(tiny.base(data_folder / "base")), id="tiny"))
    save_set("town", [Row.of(f"q{n}", f"a{n}") for n in range(30)], owner="local")
    app = open_page("finetune")
    app.segmented_control(key="finetune.section").set_value("begin").run()
    said = told(app)
    assert "27 rows to train, 3 held out" in said and "Rank **16**" in said
    app.slider(key="train_answers_epochs").set_value(1.0).run()
    assert "steps are few" in told(app)
    steps = next(metric.value for metric in app.metric if metric.label == "Steps")
    assert int(steps) == 7
    for goal in ("style", "format", "domain", "chatglm_prefix"):
        app.segmented_control(key="goal").set_value(goal).run()
        assert told(app)


def test_a_set_keeps_its_versions(data_folder: Path, open_page: Callable[[str], AppTest]) -> None:
    first = save_set("town", [Row.of(f"q{n}", f"a{n}") for n in range(12)], owner="local")
    app = open_page("finetune")
    assert "12 rows" in told(app) and "version 1" in told(app)
    app.button(key="draw_again").click().run()
    assert "version 2" in told(app)
    assert load_set(first.id, owner="local").hash != first.hash
    app.button(key="remove_set").click().run()
    assert "No rows yet" in told(app)


def test_the_doctor_names_rows_and_puts_right_what_can_be(
    data_folder: Path, open_page: Callable[[str], AppTest]
) -> None:
    rows = [*(Row.of(f"q{n}", f"a{n}") for n in range(12)), Row.of("q3", "a3"), Row.of("phone?", "13800138000")]
    save_set("town", rows, (0,), owner="local")
    app = open_page("finetune")
    said = told(app)
    assert "there twice** · rows 13" in said and "private data" in said and "rows 14" in said
    app.button(key="cure").click().run()
    said = told(app)
    assert "13 rows" in said and "version 2" in said and "there twice" not in said and "private data" in said
