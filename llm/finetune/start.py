"""Beginning a run, and the job that trains it: what pages, the terminal and the API do in the same words.

A run is a folder with what was asked for and its rows; the training is a job of the kind `finetune.run` whose only
parameter is the run's id. Pausing, going on and ending are the job's; what became of it stands in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version

from llm.catalogue.adapters import fingerprint
from llm.catalogue.lookup import find, where
from llm.errors import ModelNotThere
from llm.files import write_whole
from llm.finetune.data import Dataset, Row
from llm.finetune.run import Run, RunConfig, create_run
from llm.finetune.settings import TrainSettings
from llm.jobs import JobRecord, jobs
from llm.jobs.registry import LOCAL

KIND = "finetune.run"
_PACKAGES = ("torch", "transformers", "peft")


def new_run(
    data: Dataset, base: str, settings: TrainSettings, name: str = "", owner: str = LOCAL, serve: bool = False
) -> Run:
    """A run's folder with its rows, not begun yet.

    Args:
        base: a catalogue id, or the path of a model folder or .gguf.
        serve: see `RunConfig`.

    Raises:
        UnknownModel, ModelNotThere, CorruptModel: the base cannot be had.
        OSError: the disk is full or cannot be written.
    """
    entry = find(base)
    place = where(entry)
    if place is None:
        raise ModelNotThere(model=entry.name)
    asked = RunConfig(
        name=name or data.name,
        base=entry.id,
        base_fingerprint=fingerprint(place),
        settings=settings,
        data_id=data.id,
        data_name=data.name,
        data_version=data.version,
        data_hash=data.hash,
        rows=len(data.training),
        held_out=len(data.reserved),
        owner=owner,
        serve=serve,
        versions={package: version(package) for package in _PACKAGES},
    )
    run = create_run(asked)
    write_whole(run.folder / "rows.jsonl", _lines(data.training))
    write_whole(run.folder / "held_out.jsonl", _lines(data.reserved))
    return run


def begin(run: Run) -> JobRecord:
    """Starts the job that trains a run; the one that is there where it was begun before.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    asked = run.config
    return job_of(run) or jobs().start(KIND, asked.name, {"run": run.id}, asked.owner)


def job_of(run: Run) -> JobRecord | None:
    """The job that trains a run; None where it was never begun, or was removed."""
    return next((job for job in jobs().all(run.config.owner, KIND) if job.params.get("run") == run.id), None)


def _lines(rows: Sequence[Row]) -> str:
    # With the numbers that the set has, held-out rows counted: people look for a row there.
    return "".join(json.dumps(row.to_dict() | {"number": row.number}, ensure_ascii=False) + "\n" for row in rows)
