"""A run's folder, which is the truth: programs write it, pages and the terminal only read it.

    <home>/finetune/runs/<id>/
        config.json        what was asked for: base, data and its hash, settings, versions (RunConfig)
        rows.jsonl, held_out.jsonl      the data as it was, so that the run can be repeated
        events.jsonl       one JSON object a line, {"event": name, ...}; see below
        checkpoints/<step, 8 digits>/   written whole or not at all
            adapter_model.safetensors, adapter_config.json   peft's layout, with Hearth's module names (lora, qlora)
            prefix.safetensors                               `transformer.prefix_encoder.…` (prefix)
            model.safetensors, config.json, ...              a model folder (full)
            hearth.json        AdapterNote: which base, by its fingerprint; probe ids and logits
            state.safetensors, state.json                    optimiser, random states, place in the data: to go on
        best               a file with the number of the step whose held-out loss is the lowest

Events: started, stage (loading, preparing, training, looking, saving), step (step, loss, rate, grad_norm, tokens,
tokens_per_s, epoch), look (step, held_out_loss, canary_loss), sample (step, question, answer, reference, kind: held_out
or canary), checkpoint (step, folder), resumed (step: later steps before it are void), stopped (step, why: pause, stop),
finished (step).
"""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from llm.catalogue.adapters import AdapterNote as AdapterNote
from llm.config import config
from llm.errors import NotFound
from llm.files import write_whole
from llm.finetune.settings import TrainSettings

Event: TypeAlias = dict[str, Any]
Light: TypeAlias = Literal["unknown", "learning", "watch", "overfit"]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What was asked for. base: the model's catalogue id or path; base_fingerprint: of its
    weight files, see `llm.catalogue.adapters.fingerprint`.

    data_*: the set, its version and hash; rows, held_out: how many. versions: of the packages that reckon.
    serve: whether what it ends with answers at once as `<base>@<the run's id>`.
    """

    name: str
    base: str
    base_fingerprint: str
    settings: TrainSettings
    data_id: str = ""
    data_name: str = ""
    data_version: int = 0
    data_hash: str = ""
    rows: int = 0
    held_out: int = 0
    owner: str = ""
    created_at: float = 0.0
    serve: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"settings": self.settings.to_dict(), "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        known = {f.name for f in fields(cls)}
        own = {f.name for f in fields(TrainSettings)}
        settings = {name: value for name, value in values["settings"].items() if name in own}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "settings": TrainSettings.from_dict(settings)})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights as they were after a step."""

    step: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its folder tells it. Cheap to make; each property reads the folder again."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def config(self) -> RunConfig:
        """
        Raises:
            NotFound: the folder holds no run, or not a whole one.
        """
        try:
            return RunConfig.from_dict(json.loads((self.folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotFound(what="run", id=self.id) from error

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Those that are whole, the earliest first."""
        found = (self.folder / "checkpoints").glob("[0-9]*")
        return sorted((Checkpoint(int(f.name), f) for f in found if f.name.isdigit()), key=lambda c: c.step)

    @property
    def best(self) -> Checkpoint | None:
        """The checkpoint with the lowest held-out loss; without held-out rows the last one."""
        there = {checkpoint.step: checkpoint for checkpoint in self.checkpoints}
        try:
            step = int((self.folder / "best").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            step = -1
        return there.get(step) or (there[max(there)] if there else None)

    def events(self) -> list[Event]:
        """What happened, in order; steps that were lost with a killed program, and done again, once."""
        return settled(read_events(self.folder / "events.jsonl"))


def read_events(path: Path) -> list[Event]:
    """The whole lines of an events file; empty while there is none."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:  # cut off when the disk was full, or the power went
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def settled(events: list[Event]) -> list[Event]:
    """Events without those of steps after which a run was taken up again."""
    result: list[Event] = []
    for event in events:
        if event.get("event") == "resumed":
            at = event["step"]
            result = [before for before in result if before.get("step", 0) <= at]
        result.append(event)
    return result


def light(events: list[Event]) -> Light:
    """Whether the model learns or parrots: held-out loss against its lowest, as far as there were looks.

    watch: it has risen at one look since, or overfit: at two looks in a row, and by more than two per cent.
    """
    looks = [event["held_out_loss"] for event in events if event.get("event") == "look"]
    losses = [loss for loss in looks if loss is not None]
    if len(losses) < 2:
        return "unknown"
    lowest = losses.index(min(losses))
    since = losses[lowest + 1 :]
    if len(since) >= 2 and all(loss > losses[lowest] * 1.02 for loss in since[-2:]):
        return "overfit"
    return "watch" if since and since[-1] > losses[lowest] * 1.02 else "learning"


def create_run(asked: RunConfig) -> Run:
    """A new run's folder.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", asked.name.casefold()).strip("-")[:24] or "run"
    run = Run(runs_folder() / f"{stem}-{uuid.uuid4().hex[:8]}")
    values = asked.to_dict() | {"created_at": asked.created_at or time.time()}
    write_whole(run.folder / "config.json", json.dumps(values, ensure_ascii=False, indent=1))
    return run


def get_run(run_id: str, owner: str = "") -> Run:
    """
    Raises:
        NotFound: there is no such run of that owner's.
    """
    run = Run(runs_folder() / run_id)
    if not re.fullmatch(r"[a-z0-9-]+", run_id) or run.config.owner != owner:
        raise NotFound(what="run", id=run_id)
    return run


def all_runs(owner: str = "") -> list[Run]:
    """That owner's runs, the newest first."""
    found: list[tuple[float, Run]] = []
    for file in runs_folder().glob("*/config.json"):
        run = Run(file.parent)
        try:
            asked = run.config
        except NotFound:
            continue
        if asked.owner == owner:
            found.append((asked.created_at, run))
    return [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]


def remove_run(run_id: str, owner: str = "") -> None:
    """Deletes a run's folder with its checkpoints."""
    shutil.rmtree(get_run(run_id, owner).folder, ignore_errors=True)


def runs_folder() -> Path:
    return config().home / "finetune" / "runs"
