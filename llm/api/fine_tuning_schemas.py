"""What a request for training may say, and a run as OpenAI's clients read it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from llm.api.schemas import Body, Strict
from llm.errors import InvalidRequest
from llm.files import write_whole
from llm.finetune.run import Event, Run
from llm.finetune.settings import Goal, TrainSettings, preset
from llm.finetune.start import job_of
from llm.jobs import JobRecord

Auto = Literal["auto"]
JOB, CHECKPOINT, EVENT = "ftjob-", "ftckpt-", "ftevent-"
_STATES = {"queued": "queued", "running": "running", "paused": "paused", "done": "succeeded", "failed": "failed"}


class Hyperparameters(Strict):
    """OpenAI's own; `auto` leaves each to the goal."""

    n_epochs: float | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"

    def applied(self, start: TrainSettings) -> dict[str, Any]:
        """The settings that they are. The multiplier is of the rate that the goal has chosen."""
        values: dict[str, Any] = {}
        if self.n_epochs != "auto":
            values |= {"epochs": self.n_epochs, "max_steps": 0}
        if self.batch_size != "auto":
            values |= {"batch_rows": self.batch_size, "accumulation": 1}
        if self.learning_rate_multiplier != "auto":
            values["learning_rate"] = start.learning_rate * self.learning_rate_multiplier
        return values


class Supervised(Strict):
    hyperparameters: Hyperparameters = Hyperparameters()


class PairHyperparameters(Hyperparameters):
    """beta: how close the model stays to what it was."""

    beta: float | Auto = "auto"

    def applied(self, start: TrainSettings) -> dict[str, Any]:
        values = super().applied(start) | {"learn": "preferences"}
        return values | ({} if self.beta == "auto" else {"beta": self.beta})


class Pairs(Strict):
    hyperparameters: PairHyperparameters = PairHyperparameters()


class Method(Strict):
    type: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    supervised: Supervised = Supervised()
    dpo: Pairs = Pairs()
    reinforcement: dict[str, Any] = Field(default={})

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self.dpo.hyperparameters if self.type == "dpo" else self.supervised.hyperparameters


class JobRequest(Body):
    """OpenAI's fields, and two of Hearth's: `goal`, and `settings` by the names of the page's values."""

    model: str = Field(min_length=1, max_length=1024)
    training_file: str = Field(max_length=64)
    validation_file: str = Field("", max_length=64)
    hyperparameters: Hyperparameters = Hyperparameters()
    method: Method = Method()
    suffix: str = Field("", max_length=64)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    metadata: dict[str, str] = Field({}, max_length=16)
    integrations: list[Any] = Field([], max_length=0)
    goal: Goal = "answers"
    settings: dict[str, Any] = Field({})

    def train_settings(self, rows: int, parameters: int) -> TrainSettings:
        """
        Raises:
            InvalidRequest: the method is not there, or a value is out of its range.
        """
        if self.method.type == "reinforcement":
            raise InvalidRequest(
                detail="training by reinforcement is not there; supervised and dpo are", param="method"
            )
        start = preset(self.goal, rows, parameters)
        given = self.hyperparameters.applied(start) | self.method.hyperparameters.applied(start)
        seed = {} if self.seed is None else {"seed": self.seed}
        try:
            return TrainSettings.from_dict(start.to_dict() | given | seed | self.settings)
        except ValueError as error:
            raise InvalidRequest(detail=str(error), param="hyperparameters") from error


@dataclass(frozen=True, slots=True)
class Request:
    """What the API keeps of a request beside a run, for who asks for it again."""

    training_file: str = ""
    validation_file: str = ""
    suffix: str = ""
    learning_rate_multiplier: float | Auto = "auto"
    metadata: dict[str, str] | None = None

    def write(self, run: Run) -> None:
        values = {name: getattr(self, name) for name in self.__slots__}
        write_whole(run.folder / "request.json", json.dumps(values, ensure_ascii=False))

    @classmethod
    def read(cls, run: Run) -> Request:
        """Of a run that was begun elsewhere nothing but its set is known."""
        try:
            return cls(**json.loads((run.folder / "request.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls(training_file=run.config.data_id)


def job_object(run: Run) -> dict[str, Any]:
    """A run as `fine_tuning.job`."""
    asked, job, kept = run.config, job_of(run), Request.read(run)
    events = run.events()
    steps = [event for event in events if event.get("event") == "step"]
    status = status_of(job)
    remaining_s = job.remaining_s if job else None
    used = {
        "n_epochs": asked.settings.epochs,
        "batch_size": asked.settings.step_rows,
        "learning_rate_multiplier": kept.learning_rate_multiplier,
    }
    ended = job is not None and status in ("succeeded", "failed", "cancelled")
    return {
        "id": JOB + run.id,
        "object": "fine_tuning.job",
        "created_at": int(asked.created_at),
        "error": _error(job),
        "fine_tuned_model": f"{asked.base}@{run.id}" if status == "succeeded" and asked.serve else None,
        "finished_at": int(job.updated_at) if ended and job else None,
        "hyperparameters": used,
        "model": asked.base,
        "organization_id": "hearth",
        "result_files": [],
        "status": status,
        "trained_tokens": steps[-1]["tokens"] if steps else None,
        "training_file": kept.training_file,
        "validation_file": kept.validation_file or None,
        "seed": asked.settings.seed,
        "estimated_finish": int(time.time() + remaining_s) if remaining_s else None,
        "integrations": [],
        "metadata": kept.metadata or {},
        "method": _method(asked.settings, used),
        "user_provided_suffix": kept.suffix or None,
        "settings": asked.settings.to_dict(),
        "data_hash": asked.data_hash,
    }


def _method(settings: TrainSettings, used: dict[str, Any]) -> dict[str, Any]:
    if settings.learn == "preferences":
        return {"type": "dpo", "dpo": {"hyperparameters": used | {"beta": settings.beta}}}
    return {"type": "supervised", "supervised": {"hyperparameters": used}}


def status_of(job: JobRecord | None) -> str:
    """OpenAI's word for how a run is going; a run without a job was given up before it began."""
    if job is None or job.state == "cancelled":
        return "cancelled"
    if job.state == "running" and not job.total:
        return "validating_files"  # rows are read and weights loaded, nothing is trained yet
    return _STATES[job.state]


def _error(job: JobRecord | None) -> dict[str, Any] | None:
    if job is None or job.state != "failed":
        return None
    return {"code": job.error_code, "message": job.error_text, "param": None}


def event_objects(run: Run) -> list[dict[str, Any]]:
    """What happened, as `fine_tuning.job.event`, the newest first."""
    created = run.config.created_at
    found = []
    for number, event in enumerate(run.events()):
        message = _message(event)
        if not message:
            continue
        name = str(event["event"])
        found.append(
            {
                "id": f"{EVENT}{run.id}-{number}",
                "object": "fine_tuning.job.event",
                "created_at": int(event.get("at", created)),
                "level": "error" if name == "error" else "info",
                "message": message,
                "type": "metrics" if name in ("step", "look") else "message",
                "data": {key: value for key, value in event.items() if key not in ("event", "at")},
            }
        )
    return found[::-1]


def _message(event: Event) -> str:
    """An event in words; empty for what says nothing to a reader."""
    match event.get("event"):
        case "started":
            return f"Training {event.get('rows', 0)} rows in {event.get('steps', 0)} steps on {event.get('device', '')}"
        case "step":
            return f"Step {event['step']}: training loss={event['loss']:.4f}"
        case "look" if event.get("held_out_loss") is not None:
            return f"Step {event['step']}: validation loss={event['held_out_loss']:.4f}"
        case "checkpoint":
            return f"Checkpoint created at step {event['step']}"
        case "resumed":
            return f"Resumed at step {event['step']}"
        case "stopped":
            return f"{'Paused' if event.get('why') == 'pause' else 'Stopped'} at step {event['step']}"
        case "finished":
            return "The job has successfully completed"
        case "error":
            return str(event.get("text", "The job has failed"))
    return ""


def checkpoint_objects(run: Run) -> list[dict[str, Any]]:
    """The checkpoints that are kept, as `fine_tuning.job.checkpoint`, the newest first."""
    events, base = run.events(), run.config.base
    losses = {event["step"]: event["loss"] for event in events if event.get("event") == "step"}
    looks = {event["step"]: event.get("held_out_loss") for event in events if event.get("event") == "look"}
    return [
        {
            "id": f"{CHECKPOINT}{run.id}-{kept.step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(kept.folder.stat().st_mtime),
            "fine_tuned_model_checkpoint": f"{base}@{run.id}-step-{kept.step}",
            "fine_tuning_job_id": JOB + run.id,
            "metrics": {
                "step": kept.step,
                "train_loss": losses.get(kept.step),
                "full_valid_loss": looks.get(kept.step),
            },
            "step_number": kept.step,
        }
        for kept in run.checkpoints[::-1]
    ]
