"""Work for the tests' jobs; run in the server's threads or as `python -m tests.jobs.works <folder>`."""

from __future__ import annotations

import time
from pathlib import Path

from llm.errors import Cancelled, MessageTooLong
from llm.jobs import Job, JobRecord
from llm.jobs.child import Emitter, child_main, run_child


def count(job: Job) -> dict[str, int]:
    """Counts to `to` from where it was paused, a step at a time."""
    at = int(job.result.get("at", 0))
    while at < job.params["to"]:
        if job.cancel.is_set():
            job.keep(at=at)
            raise Cancelled(what="counting")
        at += 1
        job.progress(at, job.params["to"], "steps")
        time.sleep(job.params.get("step_s", 0))
    job.log(f"counted to {at}")
    return {"at": at}


def forget(record: JobRecord) -> None:
    Path(record.params["kept"]).unlink(missing_ok=True)


def sizes(job: Job) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in job.inputs}


def fail(job: Job) -> None:
    raise MessageTooLong(over_tokens=1, prompt_tokens=2, context_tokens=1)


def crash(job: Job) -> None:
    raise RuntimeError("a bug")


def in_child(job: Job) -> dict[str, int]:
    return run_child(
        "tests.jobs.works", job.params, job.folder, job.cancel, lambda event: job.progress(event["done"], 3, "steps")
    )


def _child(emitter: Emitter) -> dict[str, object]:
    match emitter.params["do"]:
        case "count":
            for done in range(1, 4):
                emitter.emit("progress", done=done)
            return {"sum": 6, "text": "完"}
        case "fail":
            raise MessageTooLong(over_tokens=1, prompt_tokens=2, context_tokens=1)
        case "crash":
            raise RuntimeError("broken in the child")
        case "eat":
            kept = []
            while True:
                kept.append(bytearray(b"x") * (16 << 20))
        case _:
            emitter.emit("progress", done=1)
            emitter.cancel.wait(60)
            (emitter.folder / "kept").write_text("what there was")
            return {}


if __name__ == "__main__":
    child_main(_child)
