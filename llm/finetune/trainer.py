"""The program that trains: `python -m llm.finetune.trainer <the run's folder>`.

Everything that it needs stands in the folder, and everything that it does is written there (see `llm.finetune.run`).
Every random number follows from the seed and the step, so that a run that was ended at any moment goes on from its last
checkpoint with the same losses and weights.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from llm.catalogue.adapters import AdapterNote
from llm.catalogue.lookup import find
from llm.files import write_whole
from llm.finetune import bases, workers
from llm.finetune.encode import Encoded
from llm.finetune.errors import CheckpointFailed, TrainingDiverged, TrainingOutOfMemory
from llm.finetune.methods import Learnt, method
from llm.finetune.objectives import Answers, Objective, Preferences
from llm.finetune.passes import Passes
from llm.finetune.prepare import Data, read_data
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.finetune.training import STOP
from llm.jobs.child import Emitter, child_main
from llm.machine.allocation import is_out_of_memory

LOOKS = 10
"""Looks and checkpoints in a run whose settings leave their number open."""
PROBED = 256


@dataclass(slots=True)
class Training:
    """A run in work."""

    emitter: Emitter
    run: Run
    settings: TrainSettings
    model: Any
    passes: Passes
    objective: Objective
    learnt: Learnt
    data: Data
    steps: int
    every: int
    optimiser: Any
    decode: Callable[[list[int]], str]
    step: int = 0
    tokens: int = 0
    best_loss: float = math.inf
    canaries: list[Encoded] = field(default_factory=list)

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        return list(self.learnt.parameters().values())

    def batch(self, step: int) -> list[Encoded]:
        """Rows of a step, counted from 1: each pass goes through all rows in an order of its own."""
        size, found = self.settings.step_rows, []
        for place in range((step - 1) * size, step * size):
            turn, at = divmod(place, len(self.data.rows))
            order = list(range(len(self.data.rows)))
            random.Random(self.settings.seed * 1_000_003 + turn).shuffle(order)
            found.append(self.data.rows[order[at]])
        return found

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        settings, warm = self.settings, math.ceil(self.settings.warmup * self.steps)
        if step <= warm:
            return settings.learning_rate * step / warm
        left = (self.steps - step + 1) / max(1, self.steps - warm)
        share = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}
        return settings.learning_rate * share[settings.schedule]

    def take_step(self) -> None:
        """One step of the optimiser."""
        began, step = time.perf_counter(), self.step + 1
        torch.manual_seed(self.settings.seed * 1_000_003 + step)  # dropout, the same after a resumption
        rows = self.batch(step)
        self._training(True)
        loss = self.objective.backward(rows)
        self._training(False)
        workers.sum_gradients(self.trained)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip or math.inf))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(step=step, rate=self.rate(step))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step = step
        self.tokens += sum(len(row.ids) for row in rows)
        self.emitter.emit(
            "step",
            step=step,
            loss=loss,
            rate=self.rate(step),
            grad_norm=norm,
            tokens=self.tokens,
            tokens_per_s=sum(len(row.ids) for row in rows) / (time.perf_counter() - began),
            epoch=step * self.settings.step_rows / len(self.data.rows),
        )

    def _training(self, learning: bool) -> None:
        self.model.train(learning)
        self.learnt.train(learning)

    @torch.no_grad()
    def look(self) -> None:
        """Held-out loss, the loss on other things, and the same questions asked again."""
        self.emitter.emit("stage", stage="looking")
        held = self.objective.mean(self.data.held_out)
        for asked in self.data.asked:
            answer = self.passes.answer(asked.ids, self.data.stop_ids, self.settings.sample_tokens)
            if asked.kind == "canary" and self.step == 0:
                reference = Encoded((*asked.ids, *answer), (False,) * len(asked.ids) + (True,) * len(answer))
                self.canaries += [reference] if answer else []
            self.emitter.emit(
                "sample",
                step=self.step,
                question=asked.row.prompt,
                answer=self.decode(answer),
                reference=asked.row.response if asked.kind == "held_out" else "",
                kind=asked.kind,
            )
        canary = self.passes.mean_loss(self.canaries)
        held, canary = (None if loss is None or not math.isfinite(loss) else loss for loss in (held, canary))
        self.emitter.emit("look", step=self.step, held_out_loss=held, canary_loss=canary)
        if self.step and held is not None and held < self.best_loss:
            self.best_loss = held
            write_whole(self.run.folder / "best", str(self.step))
        self.emitter.emit("stage", stage="training")

    def save(self) -> None:
        """Writes a checkpoint, whole or not at all, and lets older ones go.

        Raises:
            CheckpointFailed: the disk is full or cannot be written.
        """
        from safetensors import SafetensorError

        self.emitter.emit("stage", stage="saving")
        place = self.run.folder / "checkpoints" / f"{self.step:08d}"
        making = place.with_name(f".{place.name}.new")
        shutil.rmtree(making, ignore_errors=True)
        try:
            making.mkdir(parents=True)
            self._write(making)
            shutil.rmtree(place, ignore_errors=True)
            making.rename(place)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(making, ignore_errors=True)
            detail = getattr(error, "strerror", "") or str(error)
            raise CheckpointFailed(step=self.step, path=str(place.parent), detail=detail, kept=self.kept) from error
        self.emitter.emit("checkpoint", step=self.step, folder=place.name)
        self._let_go()
        self.emitter.emit("stage", stage="training")

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        self.learnt.save(folder, self.run.config.base)
        self._note().write(folder)
        tensors = {}
        for number, parameter in enumerate(self.trained):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{number}.{name}"] = value.detach().reshape(1) if value.dim() == 0 else value.detach()
        if tensors:
            save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, folder / "state.safetensors")
        state = {"step": self.step, "tokens": self.tokens, "best_loss": self.best_loss}
        canaries = [[list(c.ids), sum(not t for t in c.trained)] for c in self.canaries]
        write_whole(folder / "state.json", json.dumps(state | {"canaries": canaries}))

    @property
    def kept(self) -> int:
        """The step of the last checkpoint."""
        return self.run.checkpoints[-1].step if self.run.checkpoints else 0

    def out_of_memory(self) -> TrainingOutOfMemory:
        """What would take less and learn the same, in numbers."""
        longest = max(len(row.ids) for row in self.data.rows)
        fewer = max(1, self.settings.batch_rows // 2)
        passes = math.ceil(self.settings.step_rows / fewer)
        return TrainingOutOfMemory(
            step=self.step + 1,
            rows=self.settings.batch_rows,
            longest=longest,
            fewer=fewer,
            passes=passes,
            shorter=max(8, longest // 2),
            kept=self.kept,
        )

    def _note(self) -> AdapterNote:
        asked = self.run.config
        probe = self.data.rows[0].ids[:16]
        values = tuple(self.passes.last_logits(probe)[:PROBED].tolist())
        return AdapterNote(
            base=asked.base,
            base_fingerprint=asked.base_fingerprint,
            method=self.settings.method,
            name=asked.name,
            run=self.run.id,
            step=self.step,
            probe_ids=probe,
            probe_logits=values,
            precision=bases.precision(self.settings),
        )

    def _let_go(self) -> None:
        best, there = self.run.best, self.run.checkpoints
        for old in there[: -self.settings.keep_checkpoints]:
            if best is None or old.step != best.step:
                shutil.rmtree(old.folder, ignore_errors=True)

    def go_on(self) -> None:
        """Takes up the last checkpoint; without one the run begins."""
        from safetensors.torch import load_file

        last = next((one for one in reversed(self.run.checkpoints) if (one.folder / "state.json").is_file()), None)
        if last is None:
            return
        self.learnt.restore(last.folder)
        tensors = load_file(last.folder / "state.safetensors")
        for number, parameter in enumerate(self.trained):
            found = {name.split(".", 1)[1]: v for name, v in tensors.items() if name.startswith(f"{number}.")}
            if found:
                state = {name: v.reshape(()) if name == "step" else v.to(parameter) for name, v in found.items()}
                self.optimiser.state[parameter] = state
        state = json.loads((last.folder / "state.json").read_text(encoding="utf-8"))
        self.step, self.tokens, self.best_loss = state["step"], state["tokens"], state["best_loss"]
        self.canaries = [
            Encoded(tuple(ids), (False,) * begin + (True,) * (len(ids) - begin)) for ids, begin in state["canaries"]
        ]
        self.emitter.emit("resumed", step=self.step)

    def work(self) -> dict[str, Any]:
        """Trains to the end, or until it is told to end."""
        if not self.step and workers.first():
            self.look()
        while self.step < self.steps:
            self.take_step()
            ending = self._told_to_end()
            if not workers.first():
                if ending:
                    return {}
                continue
            if self.step == self.steps or (self.step % self.every == 0 and not ending):
                self.look()
                self.save()
            elif ending:
                self.save()
            if ending:
                self.emitter.emit("stopped", step=self.step, why=ending)
                return {"step": self.step, "stopped": ending}
        self.emitter.emit("finished", step=self.step)
        return {"step": self.step}

    def _told_to_end(self) -> str:
        """Why the run is to end: pause or stop; empty while it is to go on."""
        try:
            why = (self.run.folder / STOP).read_text(encoding="utf-8") or "stop"
        except FileNotFoundError:
            why = "pause" if self.emitter.cancel.is_set() else ""
        # All workers end after the same step, that of the first one to know.
        told = workers.summed(float(bool(why)))
        return why or ("pause" if told else "")


def train(emitter: Emitter) -> dict[str, Any]:
    """Prepares everything and trains.

    Raises:
        NothingToTrain: no row has a token that would be trained; found before any weights are loaded.
        CannotTune: the model is of a kind that this method cannot train.
        TrainingDiverged: a loss or gradient was no number.
        TrainingOutOfMemory, CheckpointFailed: see their sentences.
    """
    run = Run(emitter.folder)
    asked, settings = run.config, run.config.settings
    if settings.workers > 1 and workers.alone():
        return workers.spread(emitter, settings.workers)
    emitter.emit("stage", stage="preparing")
    entry = find(asked.base)
    place = bases.place_of(entry)
    with bases.reading(entry, place) as chat:
        data = read_data(chat, run)
    emitter.emit("stage", stage="loading")
    last = run.checkpoints[-1].folder if run.checkpoints and settings.method == "full" else place
    model, decode = bases.network(entry, last, settings)
    passes = Passes(model)
    kept = run.folder / "untouched.json"
    rows, objective = _untouched(passes, data, settings, kept)
    learnt = method(model, last, settings)
    if settings.checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    parameters = list(learnt.parameters().values())
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.max_steps or math.ceil(settings.epochs * len(rows) / settings.step_rows)
    every = settings.checkpoint_every or max(1, math.ceil(steps / LOOKS))
    training = Training(
        emitter,
        run,
        settings,
        model,
        passes,
        objective,
        learnt,
        replace(data, rows=rows),
        steps,
        every,
        optimiser,
        decode,
    )
    emitter.emit(
        "started",
        steps=steps,
        rows=len(rows),
        general=sum(not row.number for row in rows),
        left=[row.number for row in data.left],
        trained_tokens=sum(row.trained_tokens for row in data.rows),
        parameters=sum(parameter.numel() for parameter in parameters),
        device=str(passes.device),
        packed=passes.packs,
    )
    training.go_on()
    emitter.emit("stage", stage="training")
    try:
        return training.work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise training.out_of_memory() from error


def _untouched(passes: Passes, data: Data, settings: TrainSettings, kept: Path) -> tuple[list[Encoded], Objective]:
    """What is asked of the model before it learns: answers to general questions, and how likely it finds pairs.

    Returns the rows to train with the general ones among them, and what is to be learnt of them. It is kept in the run,
    so that a run that goes on has the same.
    """
    if settings.learn == "preferences":
        return data.rows, Preferences(passes, settings, [*data.rows, *data.held_out], kept)
    if not data.general:
        return data.rows, Answers(passes, settings)
    if kept.is_file():
        answers = json.loads(kept.read_text(encoding="utf-8"))
    else:
        answers = [passes.answer(ids, data.stop_ids, settings.sample_tokens) for ids in data.general]
        write_whole(kept, json.dumps(answers))
    rows = list(data.rows)
    wanted = round(len(rows) * settings.general_share / (1 - settings.general_share))
    pairs = [(ids, answer) for ids, answer in zip(data.general, answers, strict=True) if answer]
    for number in range(wanted if pairs else 0):
        ids, answer = pairs[number % len(pairs)]
        rows.append(Encoded((*ids, *answer), (False,) * len(ids) + (True,) * len(answer)))
    return rows, Answers(passes, settings)


if __name__ == "__main__":
    child_main(train)
