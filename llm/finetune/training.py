"""The job that trains a run: it starts the program that does, and follows what that writes into the run's folder."""

from __future__ import annotations

from typing import Any

from llm.finetune.run import Event, get_run
from llm.jobs.child import run_child
from llm.jobs.registry import Job


def train(job: Job) -> dict[str, Any]:
    """The work of the job kind `finetune.run`; params: run. Paused or killed, it goes on from the last checkpoint."""
    run = get_run(job.params["run"], job.owner)
    started = next((e for e in reversed(run.events()) if e.get("event") == "started"), {})
    steps = started.get("steps", 0)

    def told(event: Event) -> None:
        nonlocal steps
        if event.get("event") == "started":
            steps = event["steps"]
        if event.get("event") == "step":
            job.progress(event["step"], steps, unit="steps", stage="training")

    return run_child("llm.finetune.trainer", {"run": run.id}, run.folder, job.cancel, told)
