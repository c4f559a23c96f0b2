"""The program that trains: `python -m llm.finetune.trainer <the run's folder>`.

Everything that it needs stands in the folder, and everything that it does is written there (see `llm.finetune.run`).
Ended at any moment, it goes on from its last checkpoint with the same steps.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llm.catalogue.adapters import AdapterNote
from llm.catalogue.lookup import find
from llm.errors import ModelError
from llm.files import write_whole
from llm.finetune import bases
from llm.finetune.data import Row
from llm.finetune.encode import Encoded, encode_row, prompt_ids
from llm.finetune.errors import NothingToTrain, TrainingDiverged
from llm.finetune.run import Run
from llm.finetune.settings import TrainSettings
from llm.jobs.child import Emitter, child_main
from llm.messages import user

LOOKS = 10
"""Looks and checkpoints in a run whose settings leave their number open."""
PROBED = 256
CANARIES = ("Who are you?", "What is 2 + 2?")
"""Questions about other things, whose answers should not change."""
HELD_OUT_ROWS = 50
"""So many held-out rows are looked at; more take time at every look."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is asked at each look."""

    row: Row
    ids: list[int]
    kind: str


@dataclass(slots=True)
class Training:
    """A run in work."""

    emitter: Emitter
    run: Run
    settings: TrainSettings
    model: Any
    rows: list[Encoded]
    held_out: list[Encoded]
    asked: list[Asked]
    stop_ids: frozenset[int]
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
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def batch(self, step: int) -> list[Encoded]:
        """Rows of a step, counted from 1: each pass goes through all rows in an order of its own."""
        size, found = self.settings.step_rows, []
        for place in range((step - 1) * size, step * size):
            turn, at = divmod(place, len(self.rows))
            order = list(range(len(self.rows)))
            random.Random(self.settings.seed * 1_000_003 + turn).shuffle(order)
            found.append(self.rows[order[at]])
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
        """One step of the optimiser: the loss is a mean over the trained tokens of all its rows."""
        began, step = time.perf_counter(), self.step + 1
        torch.manual_seed(self.settings.seed * 1_000_003 + step)  # dropout, the same after a resumption
        rows = self.batch(step)
        count = sum(row.trained_tokens for row in rows)
        loss = 0.0
        self.model.train()
        for row in rows:
            part = losses(self.model, row).sum() / count
            part.backward()
            loss += part.item()
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip or math.inf))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(step=step, rate=self.rate(step))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        self.optimiser.step()
        self.optimiser.zero_grad()
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
            epoch=step * self.settings.step_rows / len(self.rows),
        )

    @torch.no_grad()
    def look(self) -> None:
        """Held-out loss, the loss on other things, and the same questions asked again."""
        self.emitter.emit("stage", stage="looking")
        self.model.eval()
        held = mean_loss(self.model, self.held_out)
        for asked in self.asked:
            answer = self._answer(asked.ids)
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
        canary = mean_loss(self.model, self.canaries)
        self.emitter.emit("look", step=self.step, held_out_loss=held, canary_loss=canary)
        if self.step and held is not None and held < self.best_loss:
            self.best_loss = held
            write_whole(self.run.folder / "best", str(self.step))
        self.emitter.emit("stage", stage="training")

    def _answer(self, ids: list[int]) -> list[int]:
        """A greedy answer, by the network's own cache where it has one."""
        written: list[int] = []
        inputs, past = torch.tensor([ids], device=self._device), None
        for _ in range(self.settings.sample_tokens):
            output = self.model(input_ids=inputs, past_key_values=past, use_cache=True)
            past = getattr(output, "past_key_values", None)
            token = int(output.logits[0, -1].argmax())
            if token in self.stop_ids:
                break
            written.append(token)
            following = [[token]] if past is not None else [[*ids, *written]]
            inputs = torch.tensor(following, device=self._device)
        return written

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.trained[0].device
        return device

    def save(self) -> None:
        """Writes a checkpoint, whole or not at all, and lets older ones go."""
        from safetensors.torch import save_file

        self.emitter.emit("stage", stage="saving")
        place = self.run.folder / "checkpoints" / f"{self.step:08d}"
        making = place.with_name(f".{place.name}.new")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        self.model.save_pretrained(str(making))
        (making / "README.md").unlink(missing_ok=True)
        self._note().write(making)
        tensors = {}
        for number, parameter in enumerate(self.trained):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{number}.{name}"] = value.detach().reshape(1) if value.dim() == 0 else value.detach()
        if tensors:
            save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, making / "state.safetensors")
        state = {"step": self.step, "tokens": self.tokens, "best_loss": self.best_loss}
        canaries = [[list(c.ids), sum(not t for t in c.trained)] for c in self.canaries]
        write_whole(making / "state.json", json.dumps(state | {"canaries": canaries}))
        shutil.rmtree(place, ignore_errors=True)
        making.rename(place)
        self.emitter.emit("checkpoint", step=self.step, folder=place.name)
        self._let_go()
        self.emitter.emit("stage", stage="training")

    @torch.no_grad()
    def _note(self) -> AdapterNote:
        asked = self.run.config
        probe = next((row.ids[:16] for row in self.rows), ())
        self.model.eval()
        logits = self.model(input_ids=torch.tensor([probe], device=self._device)).logits[0, -1, :PROBED].float()
        values = tuple(logits.tolist())
        return AdapterNote(
            asked.base, asked.base_fingerprint, self.settings.method, asked.name, self.run.id, self.step, probe, values
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
        weights = load_file(last.folder / "adapter_model.safetensors")
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, weights)
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
        if not self.step:
            self.look()
        while self.step < self.steps:
            self.take_step()
            ending = self.emitter.cancel.is_set()
            if self.step == self.steps or (self.step % self.every == 0 and not ending):
                self.look()
                self.save()
            elif ending:
                self.save()
            if ending:
                self.emitter.emit("stopped", step=self.step)
                return {"step": self.step}
        self.emitter.emit("finished", step=self.step)
        return {"step": self.step}


def losses(model: Any, row: Encoded) -> torch.Tensor:
    """The loss of each trained token of a row, (trained,). The head is computed for their places only."""
    device = next(model.parameters()).device
    targets = [place for place, trained in enumerate(row.trained) if trained and place]
    places = torch.tensor([place - 1 for place in targets], device=device)
    ids = torch.tensor([row.ids], device=device)
    try:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]
    except TypeError:  # Hearth's own networks give all
        logits = model(input_ids=ids, use_cache=False).logits[0]
    if len(logits) != len(places):
        logits = logits[places]
    wanted = torch.tensor([row.ids[place] for place in targets], device=device)
    return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")


@torch.no_grad()
def mean_loss(model: Any, rows: Sequence[Encoded]) -> float | None:
    """Mean over the trained tokens of all rows; None without rows."""
    found = [losses(model, row) for row in rows]
    return float(torch.cat(found).mean()) if found else None


def read_rows(file: Path) -> list[Row]:
    """Rows of a run's file; none where there is no file."""
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    return [Row.from_dict(json.loads(line), number) for number, line in enumerate(filter(None, lines), start=1)]


def train(emitter: Emitter) -> dict[str, Any]:
    """Prepares everything and trains.

    Raises:
        NothingToTrain: no row has a token that would be trained.
        TrainingDiverged: a loss or gradient was no number.
    """
    from peft import LoraConfig, get_peft_model

    run = Run(emitter.folder)
    asked, settings = run.config, run.config.settings
    if settings.method != "lora":
        raise ModelError(detail=f"the method {settings.method} is not there yet; LoRA is")
    emitter.emit("stage", stage="loading")
    entry = find(asked.base)
    chat = bases.renderer(entry)
    emitter.emit("stage", stage="preparing")
    rows = [encode_row(chat, row, settings) for row in read_rows(run.folder / "rows.jsonl")]
    rows = [row for row in rows if any(row.trained[1:])]
    if not rows:
        raise NothingToTrain(run=asked.name)
    reserved = read_rows(run.folder / "held_out.jsonl")
    held = [row for row in (encode_row(chat, row, settings) for row in reserved[:HELD_OUT_ROWS]) if any(row.trained)]
    talks = [row for row in reserved if row.messages][: settings.samples]
    asked_rows = [Asked(row, prompt_ids(chat, row), "held_out") for row in talks]
    if settings.samples:
        others = [Row((user(question), *Row.of("", "").messages[-1:])) for question in CANARIES]
        asked_rows += [Asked(row, prompt_ids(chat, row), "canary") for row in others]
    stop_ids = frozenset(chat.family.stop_ids(chat.engine) | chat.engine.stop_ids)
    decode = decoder_of(chat, entry.is_gguf)
    plain = bases.network(entry, chat, settings)
    if settings.checkpointing:
        plain.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(settings.seed)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # peft takes fractions
        lora_dropout=settings.dropout,
        target_modules=bases.targets(plain, settings.targets),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
    )
    model = get_peft_model(plain, lora)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.max_steps or math.ceil(settings.epochs * len(rows) / settings.step_rows)
    every = settings.checkpoint_every or max(1, math.ceil(steps / LOOKS))
    training = Training(
        emitter, run, settings, model, rows, held, asked_rows, stop_ids, steps, every, optimiser, decode
    )
    emitter.emit("started", steps=steps, rows=len(rows), trained_tokens=sum(row.trained_tokens for row in rows))
    training.go_on()
    emitter.emit("stage", stage="training")
    return training.work()


def decoder_of(chat: Any, is_gguf: bool) -> Callable[[list[int]], str]:
    """What turns ids into words."""
    tokenizer = chat.tokenizer
    if is_gguf:
        from transformers import AutoTokenizer

        place = chat.engine._path
        tokenizer = AutoTokenizer.from_pretrained(place.parent, gguf_file=place.name)
    return lambda ids: str(tokenizer.decode(ids))


if __name__ == "__main__":
    child_main(train)
