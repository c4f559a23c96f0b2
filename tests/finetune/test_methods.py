"""Full tuning, texts, bases in few bits, and the networks that Hearth brings itself."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llm.catalogue.lookup import find
from llm.checkpoints.packed import PackedLinear
from llm.engines.transformers.loading import open_model
from llm.engines.transformers.quantized_linear import RoundedLinear
from llm.finetune.bases import reading
from llm.finetune.data import Row, save_set
from llm.finetune.encode import trainable
from llm.finetune.errors import CannotTune
from llm.finetune.evaluate import ask, checkpoint_of, tuned_entry
from llm.finetune.export import export, exports_of
from llm.finetune.objectives import Preferences
from llm.finetune.passes import Passes
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.finetune.start import new_run
from llm.finetune.trainer import train
from llm.jobs.child import Emitter, run_child
from llm.plan import LoadPlan
from llm.runtime import handles
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf

ROOT = Path(__file__).resolve().parents[2].parent / "shared" / "checkpoints"
ROWS = [Row.of("Who is the mayor?", "Ada."), Row.of("What is sold?", "Red cats."), Row.of("Where?", "In the house.")]
QUICK: dict[str, Any] = {
    "rank": 4, "alpha": 8, "learning_rate": 1e-2, "batch_rows": 3, "max_tokens": 128, "samples": 0, "warmup": 0.0,
    "max_steps": 10, "checkpoint_every": 5, "schedule": "constant",
}  # fmt: skip
needs_checkpoints = pytest.mark.skipif(not ROOT.is_dir(), reason="the reference checkpoints are not here")


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def trained(base: Path, rows: list[Row] | None = None, **changes: Any) -> Run:
    run = new_run(save_set("rows", rows or ROWS, ()), str(base), TrainSettings.from_dict(QUICK | changes))
    return go_on(run)


def go_on(run: Run) -> Run:
    (run.folder / "params.json").write_text("{}", encoding="utf-8")
    train(Emitter(run.folder))
    return run


def losses(run: Run) -> list[float]:
    return [event["loss"] for event in run.events() if event["event"] == "step"]


@pytest.mark.parametrize("gguf", [False, True])
def test_all_weights_learn_and_a_checkpoint_is_a_model_of_its_own(closed: Path, gguf: bool) -> None:
    base = tiny.base(closed / "base")
    base = to_gguf(base, closed / "base.gguf") if gguf else base
    run = trained(base, method="full", max_steps=40, checkpoint_every=20, learning_rate=5e-3)
    assert losses(run)[-1] < losses(run)[0] / 4
    checkpoint = checkpoint_of(run, None)
    entry = tuned_entry(run, checkpoint)
    assert entry.adapter is None and exports_of(run, checkpoint) == ["merged"]
    entry = find(export(run, checkpoint, "merged", closed / "out"))
    assert [ask(entry, row, 16) for row in ROWS] == [row.response for row in ROWS]


def test_full_tuning_goes_on_from_its_checkpoint_with_the_same_steps(closed: Path) -> None:
    run = trained(tiny.base(closed / "base"), method="full", learning_rate=1e-3)
    whole, weights = losses(run), load_file(run.checkpoints[-1].folder / "model.safetensors")
    shutil.rmtree(run.checkpoints[-1].folder)
    go_on(run)
    again = load_file(run.checkpoints[-1].folder / "model.safetensors")
    assert run.checkpoints[-1].step == 10 and losses(run) == whole
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_text_is_learnt_without_questions(closed: Path) -> None:
    text = Row(text="There was a house by the sea, and in the house there was a cat. " * 8)
    run = trained(tiny.base(closed / "base"), [text], max_tokens=64, max_steps=30, checkpoint_every=30)
    assert losses(run)[-1] < losses(run)[0] / 2


def test_pairs_teach_which_answer_is_better(closed: Path) -> None:
    pairs = [replace(row, rejected="Nobody knows.") for row in ROWS]
    base = tiny.base(closed / "base")
    run = trained(base, [*pairs, Row.of("Alone?", "Yes.")], learn="preferences", beta=0.5, max_steps=12)
    assert losses(run)[0] == pytest.approx(math.log(2), abs=1e-5), "an untouched model prefers nothing"
    assert losses(run)[-1] < 0.2
    assert next(event for event in run.events() if event["event"] == "started")["left"] == [4]
    with reading(find(base), base) as chat:
        rows, _ = trainable(chat, pairs, run.config.settings)
    assert all(row.worse is not None and row.ids[: row.places[0]] == row.worse.ids[: row.places[0]] for row in rows)
    whole = losses(run)
    shutil.rmtree(run.checkpoints[-1].folder)
    assert losses(go_on(run)) == whole, "taken up again, it is held against the untouched model as before"


def test_two_answers_lose_what_the_formula_says(closed: Path) -> None:
    base = tiny.base(closed / "base")
    settings = TrainSettings(learn="preferences", beta=0.3)
    with reading(find(base), base) as chat:
        rows, _ = trainable(chat, [replace(ROWS[0], rejected="Eve, I think.")], settings)
    model = open_model(find(base), base, LoadPlan(device="cpu", precision="float32"))
    objective = Preferences(Passes(model), settings, rows, closed / "untouched.json")

    def likelihoods() -> list[float]:
        found = []
        for one in (rows[0], rows[0].worse):
            assert one is not None
            chances = model(torch.tensor([one.ids])).logits[0].log_softmax(-1)
            found.append(sum(float(chances[place - 1, one.ids[place]]) for place in one.places))
        return found

    with torch.no_grad():
        before = likelihoods()
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        after = likelihoods()
    margin = (after[0] - before[0]) - (after[1] - before[1])
    assert objective.mean(rows) == pytest.approx(math.log1p(math.exp(-0.3 * margin)), rel=1e-4)


def test_general_rows_are_the_untouched_models_own_answers(closed: Path) -> None:
    run = trained(tiny.base(closed / "base"), general_share=0.4, sample_tokens=8, max_steps=2, rank=2)
    started = next(event for event in run.events() if event["event"] == "started")
    assert (started["rows"], started["general"]) == (5, 2)
    answers = json.loads((run.folder / "untouched.json").read_text(encoding="utf-8"))
    assert len(answers) == 2 and all(len(answer) <= 8 for answer in answers)


@pytest.mark.parametrize("tokens", [3, 100])
@pytest.mark.parametrize("outputs", [48, 600])
def test_a_gradient_goes_through_8_bits_as_through_the_same_numbers_unpacked(tokens: int, outputs: int) -> None:
    layer = RoundedLinear(40, outputs, has_bias=True, bits=8, has_bfloat16=False)
    layer.take(torch.randn(outputs, 40))
    torch.nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(2, tokens, 40, requires_grad=True)
    weight = layer.weight[:, :40].float() * layer.scales.float()[:, None]
    gradient = torch.randn(2, tokens, outputs)
    (wanted,) = torch.autograd.grad(torch.nn.functional.linear(x, weight, layer.bias), x, gradient)
    (found,) = torch.autograd.grad(layer(x), x, gradient)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_qlora_learns_on_a_base_in_8_bits_and_answers_on_it(closed: Path) -> None:
    base = tiny.base(closed / "base")
    run = trained(base, method="qlora", max_steps=80, checkpoint_every=40, rank=16, alpha=32, checkpointing=True)
    assert losses(run)[-1] < losses(run)[0] / 4
    assert ask(tuned_entry(run, checkpoint_of(run, None)), ROWS[0], 16) == "Ada."
    plan = LoadPlan(device="cpu", precision="int8")
    kept = [m for m in open_model(find(base), base, plan).modules() if isinstance(m, RoundedLinear)]
    assert kept and all(layer.weight.dtype == torch.int8 for layer in kept)


@needs_checkpoints
@pytest.mark.parametrize(
    "kind", ["chatglm", "chatglm-int4", "chatglm2", "chatglm3", "baichuan2-7b", "baichuan2-13b", "qwen", "qwen-vl-chat"]
)
def test_networks_of_hearths_own_learn_and_answer_with_what_they_learnt(closed: Path, kind: str) -> None:
    place = ROOT / kind
    run = trained(place, checkpointing=kind != "chatglm-int4")
    assert losses(run)[-1] < losses(run)[0] - 0.2
    entry = tuned_entry(run, checkpoint_of(run, None))
    assert ask(entry, ROWS[0], 8) != ask(find(place), ROWS[0], 8)


@needs_checkpoints
def test_a_gradient_goes_through_packed_weights_as_through_the_same_numbers_unpacked() -> None:
    place = ROOT / "chatglm-int4"
    model = open_model(find(place), place, LoadPlan(device="cpu", precision="float32"))
    layer = next(module for module in model.modules() if isinstance(module, PackedLinear))
    weight = layer.weight_of(torch.float32)
    x, gradient = torch.randn(1, 5, weight.shape[1], requires_grad=True), torch.randn(1, 5, weight.shape[0])
    (found,) = torch.autograd.grad(layer(x), x, gradient)
    assert torch.allclose(found, gradient @ weight, atol=1e-4)


@needs_checkpoints
def test_what_cannot_be_tuned_in_full_is_refused(closed: Path) -> None:
    with pytest.raises(CannotTune, match="choose LoRA"):
        trained(ROOT / "chatglm2", method="full")


@pytest.mark.slow
def test_two_workers_take_the_steps_of_one(closed: Path) -> None:
    pytest.importorskip("ray")
    base = tiny.base(closed / "base")
    one = trained(base, batch_rows=1, accumulation=3)
    two = new_run(
        save_set("rows", ROWS, ()),
        str(base),
        TrainSettings.from_dict(QUICK | {"batch_rows": 1, "accumulation": 3, "workers": 2}),
    )
    run_child("llm.finetune.trainer", {}, two.folder)
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert [checkpoint.step for checkpoint in two.checkpoints] == [5, 10]
