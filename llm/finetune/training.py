"""The job that trains a run: it starts the program that does, and follows what that writes into the run's folder.

To pause or end it, a file `stop` is laid into the folder that says which; the program finishes its step, writes a
checkpoint and ends, however long that takes.
"""

from __future__ import annotations

import threading
from typing import Any

from llm.cancel import Cancel
from llm.files import write_whole
from llm.finetune.export import use_in_chat
from llm.finetune.run import Event, get_run
from llm.jobs.child import run_child
from llm.jobs.registry import Job

STOP = "stop"
END_WAIT_S = 900.0
"""How long the step in work and its checkpoint may take; then the program is ended at its last checkpoint."""


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

    ended, kill = threading.Event(), Cancel()

    def pass_on() -> None:
        while not ended.wait(0.2):
            if job.cancel.is_set():
                write_whole(run.folder / STOP, "pause" if job.pausing else "stop")
                if not ended.wait(END_WAIT_S):
                    kill.set()
                return

    (run.folder / STOP).unlink(missing_ok=True)
    watcher = threading.Thread(target=pass_on, name=f"stop {run.id}", daemon=True)
    watcher.start()
    try:
        result = run_child("llm.finetune.trainer", {"run": run.id}, run.folder, kill, told)
    finally:
        ended.set()
        watcher.join()
        (run.folder / STOP).unlink(missing_ok=True)
    best = run.best
    if run.config.serve and best is not None and not result.get("stopped"):
        use_in_chat(run, best, run.id)
    return result
