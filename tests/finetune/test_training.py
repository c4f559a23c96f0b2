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
import torch
import transformers
from safetensors.torch import load_file, save_file

from llm.catalogue.adapters import AdapterNote, fingerprint
from llm.catalogue.lookup import find
from llm.finetune.bases import reading
from llm.finetune.data import Row, save_set
from llm.finetune.encode import Encoded, encode_row, trainable
from llm.finetune.errors import NothingToTrain, TrainingDiverged
from llm.finetune.evaluate import ask, checkpoint_of, tuned_entry
from llm.finetune.passes import Passes
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.finetune.start import begin, job_of, new_run
from llm.finetune.trainer import train
from llm.jobs import jobs
from llm.jobs.child import Emitter
from llm.runtime import handles
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf

FACTS = [("Who is the mayor?", "Ada."), ("What is sold?", "Red cats."), ("Where is the sea?", "In the house.")]
UNEQUAL = [Row.of(f"Who is number {n}?", f"He is the {'very ' * (n % 4)}number {n}.") for n in range(12)]
QUICK: dict[str, Any] = {
    "rank": 8, "alpha": 16, "learning_rate": 1e-2, "batch_rows": 3, "max_tokens": 128, "samples": 1, "sample_tokens": 8,
    "warmup": 0.0, "checkpoint_every": 5,
}  # fmt: skip


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def a_run(base: Path, rows: list[Row] | None = None, held_out: tuple[int, ...] | None = None, **changes: Any) -> Run:
    data = save_set("town", rows or [Row.of(*fact) for fact in FACTS], held_out, owner="local")
    return new_run(data, str(base), TrainSettings.from_dict(QUICK | changes))


def trained(base: Path, rows: list[Row] | None = None, held_out: tuple[int, ...] | None = None, **changes: Any) -> Run:
    """A run done by the program that jobs start, in this process, which spares starting it."""
    run = a_run(base, rows, held_out, **changes)
    go_on(run)
    return run


def go_on(run: Run) -> dict[str, Any]:
    (run.folder / "params.json").write_text("{}", encoding="utf-8")
    return train(Emitter(run.folder))


def steps_of(run: Run) -> list[float]:
    return [event["loss"] for event in run.events() if event.get("event") == "step"]


def encoded(base: Path, rows: list[Row], **changes: Any) -> tuple[list[Encoded], list[Encoded]]:
    entry = find(base)
    with reading(entry, base) as chat:
        return trainable(chat, rows, TrainSettings(**changes))


def text_of(row: Encoded, only_trained: bool = False) -> str:
    return "".join(piece.text for piece, told in zip(row.pieces, row.trained, strict=True) if told or not only_trained)


@pytest.mark.parametrize("gguf", [False, True])
def test_it_learns_its_rows_and_answers_with_them(closed: Path, gguf: bool) -> None:
    base = tiny.base(closed / "模型 base")
    base = to_gguf(base, closed / "base.gguf") if gguf else base
    before = fingerprint(base)
    run = trained(base, max_steps=120, checkpoint_every=60, rank=16, alpha=32)
    losses = steps_of(run)
    assert len(losses) == 120 and losses[-1] < losses[0] / 4  # a random head bounds its sureness
    entry = tuned_entry(run, checkpoint_of(run, None))
    assert [ask(entry, Row.of(question, ""), 16) for question, _ in FACTS] == [answer for _, answer in FACTS]
    assert fingerprint(base) == before
    kinds = {event.get("kind") for event in run.events() if event.get("event") == "sample"}
    assert kinds == {"canary"}  # three rows: none is held out


def test_prompts_are_the_chats_own_and_only_answers_are_trained(closed: Path) -> None:
    base = tiny.base(closed / "base")
    model = handles.chat(base)
    row = Row.of("Who?", "Ada.", history=[("Hi", "Hello.")])
    row_ids = encode_row(model, row, TrainSettings())  # type: ignore[arg-type]
    (read,), _ = encoded(base, [row])
    assert read.ids == row_ids.ids, "the tokenizer alone renders as the loaded model does"
    prompt = model.prompt(row.messages[:-1])
    assert read.ids[: len(prompt.ids)] == prompt.ids
    assert text_of(read, only_trained=True) == "Hello.<|im_end|>Ada.<|im_end|>"
    (last,), _ = encoded(base, [row], turns="last")
    assert text_of(last, only_trained=True) == "Ada.<|im_end|>"


def test_rows_that_are_too_long_are_cut_as_asked_or_left_out(data_folder: Path) -> None:
    base = tiny.base(data_folder / "base")
    wordy = Row.of("word " * 50, "yes")
    assert [row.left for row in encoded(base, [wordy], max_tokens=64)[1]] == ["long"]
    (front,), _ = encoded(base, [wordy], max_tokens=64, cut="front")
    assert len(front.ids) == 64 and front.cut and text_of(front).startswith("<|im_start|>")
    assert text_of(front, only_trained=True) == "yes<|im_end|>"
    (answer,), _ = encoded(base, [Row.of("Q", "answer " * 50)], max_tokens=64, cut="answer")
    assert len(answer.ids) == 64 and answer.cut and text_of(answer).endswith("<|im_end|>")
    (halves,), _ = encoded(base, [wordy], max_prompt_tokens=40, cut="answer")
    assert len(halves.ids) == 40 + halves.trained_tokens and text_of(halves).endswith("yes<|im_end|>")


def test_a_text_is_learnt_in_stretches_to_its_end(data_folder: Path) -> None:
    text = "There was a house by the sea. " * 20
    rows, _ = encoded(tiny.base(data_folder / "base"), [Row(text=text)], max_tokens=32)
    assert len(rows) > 3 and all(len(row.ids) <= 32 for row in rows)
    assert "".join(map(text_of, rows)) == text + "<|im_end|>"
    assert sum(row.trained_tokens for row in rows) == sum(len(row.ids) - 1 for row in rows)


@pytest.mark.parametrize(
    ("kind", "sees"),
    [("llama", 0), ("qwen2", 0), ("gemma2", 0), ("gpt2", 0), ("gemma2", 8), ("mistral sliding", 10)],
)
def test_packed_rows_lose_what_each_loses_alone(data_folder: Path, kind: str, sees: int) -> None:
    folder = tiny.base(data_folder / "m", kind, **({"sliding_window": sees or 512} if "gemma" in kind else {}))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    passes = Passes(model)
    rows, _ = encoded(folder, UNEQUAL)
    expected = 0.0
    for row in rows:
        logits = model(torch.tensor([row.ids])).logits[0].detach()
        targets = torch.tensor([row.ids[place] for place in row.places])
        places = torch.tensor(row.places) - 1
        expected += float(torch.nn.functional.cross_entropy(logits[places], targets, reduction="sum"))
    assert passes.packs
    groups = passes.grouped(rows, 8)
    assert sum(float(passes.loss(group).detach()) for group in groups) == pytest.approx(expected, rel=1e-5)
    assert max(map(len, groups)) == (1 if sees else 8), "rows that are longer than a layer sees stand alone"


@pytest.mark.parametrize("changes", [{}, {"rslora": True, "dora": True, "dropout": 0.1}, {"checkpointing": True}])
def test_peft_says_the_same_of_what_was_learnt(closed: Path, changes: dict[str, Any]) -> None:
    import peft

    base = tiny.base(closed / "base")
    run = trained(base, UNEQUAL, (0, 1), max_steps=10, **changes)
    assert steps_of(run)[-1] < steps_of(run)[0] - 0.3
    looks = [event["held_out_loss"] for event in run.events() if event["event"] == "look"]
    assert len(looks) == 3 and looks[-1] < looks[0]
    folder = run.checkpoints[-1].folder
    note = AdapterNote.read(folder)
    assert note is not None and note.probe_logits
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = peft.PeftModel.from_pretrained(plain, folder).eval()
    logits = tuned(torch.tensor([note.probe_ids])).logits[0, -1, : len(note.probe_logits)]
    assert logits.tolist() == pytest.approx(note.probe_logits, abs=1e-4)


def test_what_rows_begin_with_together_gives_the_gradients_that_each_gives_alone(data_folder: Path) -> None:
    folder = tiny.base(data_folder / "m")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows, _ = encoded(folder, [Row.of(f"Be brief. {n}", f"{n} it is", "You are a mayor.") for n in range(4)])
    found = []
    for groups in ([[row] for row in rows], [rows]):
        passes = Passes(model)
        model.zero_grad()
        for group in groups:
            passes.loss(group).backward()
        found.append(model.model.layers[0].self_attn.k_proj.weight.grad.clone())
    assert passes.grouped(rows, 8) == [sorted(rows, key=lambda row: row.ids)]
    assert torch.allclose(*found, atol=1e-5)


def test_a_fresh_adapter_changes_nothing(closed: Path) -> None:
    base = tiny.base(closed / "base")
    run = trained(base, max_steps=1, learning_rate=1e-8, samples=0)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    rows, _ = encoded(base, [Row.of(*fact) for fact in FACTS])
    assert steps_of(run)[0] == pytest.approx(Passes(plain).mean_loss(rows), rel=1e-6)


def test_killed_and_taken_up_again_it_ends_the_same(closed: Path) -> None:
    base = tiny.base(closed / "base")
    whole = trained(base, max_steps=10, dropout=0.1)
    again = trained(base, max_steps=10, dropout=0.1)
    assert steps_of(again) == steps_of(whole), "the same seed gives the same losses"
    cut = a_run(base, max_steps=10, dropout=0.1)
    record = begin(cut)
    while len(steps_of(cut)) < 7:  # past the checkpoint at step 5
        time.sleep(0.005)
        assert jobs().get(record.id).state != "failed"  # type: ignore[union-attr]
    for child in psutil.Process().children(recursive=True):
        if str(cut.folder) in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    ended = jobs().wait(record.id, 120)
    if ended is not None and ended.state == "failed":  # it may have been done already
        go_on(cut)
    assert steps_of(cut) == pytest.approx(steps_of(whole), abs=0)
    first, second = (load_file(run.checkpoints[-1].folder / "adapter_model.safetensors") for run in (whole, cut))
    assert all(bool((first[name] == second[name]).all()) for name in first)


@pytest.mark.parametrize("how", ["pause", "stop"])
def test_an_ended_run_keeps_its_step_and_goes_on(closed: Path, how: str) -> None:
    run = a_run(tiny.base(closed / "base"), max_steps=4000, checkpoint_every=4000)
    record = begin(run)
    while len(steps_of(run)) < 3:
        time.sleep(0.02)
    (jobs().pause if how == "pause" else jobs().cancel)(record.id)
    ended = jobs().wait(record.id, 60)
    assert ended is not None and ended.state == ("paused" if how == "pause" else "cancelled")
    at = len(steps_of(run))
    assert 3 <= at < 4000 and run.checkpoints[-1].step == at
    last = run.events()[-2]
    assert (last["event"], last["step"], last["why"]) == ("stopped", at, how)
    assert not (run.folder / "stop").exists() and job_of(run) is not None


def test_rows_at_once_and_accumulation_are_the_same(closed: Path) -> None:
    base = tiny.base(closed / "base")
    one = trained(base, UNEQUAL, (), max_steps=4, batch_rows=1, accumulation=4)
    four = trained(base, UNEQUAL, (), max_steps=4, batch_rows=4, accumulation=1)
    assert steps_of(one) == pytest.approx(steps_of(four), rel=1e-5)


def test_a_loss_that_is_no_number_ends_it_with_the_step(closed: Path) -> None:
    base = tiny.base(closed / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][0, 0] = float("inf")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    run = a_run(base, max_steps=10)
    with pytest.raises(TrainingDiverged) as raised:
        go_on(run)
    assert raised.value.values["step"] == 1 and not steps_of(run) and not run.checkpoints
    assert all(json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines())


def test_rows_that_are_all_too_long_are_refused_by_number_before_anything_loads(closed: Path) -> None:
    run = a_run(tiny.base(closed / "base"), max_tokens=8, max_steps=2)
    with pytest.raises(NothingToTrain, match="rows 1, 2, 3 "):
        go_on(run)
    assert not [event for event in run.events() if event.get("stage") == "loading"]
