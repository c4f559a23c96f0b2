"""Two steps of a run, tried in a program of its own: what they take is what the plan promises.

The first step has the longest rows, which take the most memory; the time is that of the steps after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm.catalogue.adapters import fingerprint
from llm.catalogue.entry import ModelEntry
from llm.files import write_whole
from llm.finetune.bases import place_of
from llm.finetune.data import Dataset, Row
from llm.finetune.encode import Encoded
from llm.finetune.run import Run, RunConfig
from llm.finetune.settings import TrainSettings
from llm.jobs.child import Emitter, child_main, run_child
from llm.jobs.registry import Job

TIMED_STEPS = 2
MOST_ROWS = 256


def tried(job: Job) -> dict[str, Any]:
    """The work of the job kind `finetune.trial`; params: base, fingerprint, settings, rows.

    Result: tokens_per_s, peak_bytes, key (what was tried, as the page knows it).
    """
    asked = job.params
    rows = [Row.from_dict(row) for row in asked["rows"]]
    lay_out(job.folder, asked["base"], asked["fingerprint"], TrainSettings.from_dict(asked["settings"]), rows)
    job.progress(0, 0, stage="measuring")
    return run_child("llm.finetune.trial", {}, job.folder, job.cancel) | {"key": asked.get("key", "")}


def trial_params(
    entry: ModelEntry, data: Dataset, settings: TrainSettings, kept: Sequence[Encoded], key: str = ""
) -> dict[str, Any]:
    """What the job of a trial is asked. kept: the rows of the set as they are trained."""
    lengths = {row.number: len(row.ids) for row in kept}
    rows = [row for row in data.training if row.number in lengths]
    picked = chosen(rows, [lengths[row.number] for row in rows], settings.step_rows)
    return {
        "base": entry.id,
        "fingerprint": fingerprint(place_of(entry)),
        "settings": settings.to_dict(),
        "rows": [row.to_dict() for row in picked],
        "key": key,
    }


def lay_out(folder: Path, base: str, fingerprint: str, settings: TrainSettings, rows: Sequence[Row]) -> Run:
    """A run's folder for the trial: no looks, no samples, as many rows as its steps take."""
    steps = TIMED_STEPS + 1
    short = replace(settings, max_steps=steps, samples=0, general_share=0.0, checkpoint_every=1_000_000)
    write_whole(
        folder / "config.json", json.dumps(RunConfig("trial", base, fingerprint, short).to_dict(), ensure_ascii=False)
    )
    write_whole(folder / "rows.jsonl", "".join(json.dumps(r.to_dict(), ensure_ascii=False) + "\n" for r in rows))
    return Run(folder)


def chosen(rows: Sequence[Row], lengths: Sequence[int], step_rows: int) -> list[Row]:
    """Rows for a trial: evenly drawn over all lengths, the longest among them.

    Args:
        lengths: tokens of each row.
    """
    order = sorted(range(len(rows)), key=lambda place: -lengths[place])
    wanted = min(len(rows), max(1, step_rows * (TIMED_STEPS + 1)), MOST_ROWS)
    return [rows[order[place * len(rows) // wanted]] for place in range(wanted)]


def trial(emitter: Emitter) -> dict[str, Any]:
    """The program: trains the steps and tells the rate of all but the first, and the program's peak."""
    import torch

    from llm.finetune.trainer import train

    train(emitter)
    steps = [event for event in Run(emitter.folder).events() if event.get("event") == "step"]
    before = [0, *(event["tokens"] for event in steps)]
    spent = [(e["tokens"] - at) / e["tokens_per_s"] for at, e in zip(before, steps, strict=False)]
    timed = spent[1:] or spent
    tokens = steps[-1]["tokens"] - (steps[0]["tokens"] if len(steps) > 1 else 0)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes()
    return {"tokens_per_s": tokens / sum(timed), "peak_bytes": peak}


def peak_bytes() -> int:
    """The most memory that this program has had, in bytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    import psutil

    used = psutil.Process().memory_info()
    return int(getattr(used, "peak_wset", used.rss))


if __name__ == "__main__":
    child_main(trial)
