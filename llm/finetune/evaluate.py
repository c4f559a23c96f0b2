"""What a run has come to: held-out questions asked of the model alone and of the tuned one, and one honest sentence."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from llm.cancel import Cancel
from llm.catalogue.adapters import GGUF, WEIGHTS, Adapter, AdapterNote
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import find, where, with_adapter
from llm.errors import AdapterRefused, Cancelled, NotFound
from llm.events import TextDelta
from llm.files import write_whole
from llm.finetune.data import Row
from llm.finetune.errors import NoHeldOut
from llm.finetune.gguf_lora import gguf_lora
from llm.finetune.metrics import Scores, interval, mean, score
from llm.finetune.run import Checkpoint, Run, get_run
from llm.jobs.registry import Job
from llm.runtime import handles
from llm.settings import GenerationSettings

Finding: TypeAlias = Literal["few", "better", "same", "worse"]
ENOUGH_ROWS = 20
"""With fewer rows a difference is told with its number, and nothing is concluded from it."""
MEASURE = "rouge_l"
"""The score that the sentence goes by: one that neither length nor smoothing makes large by itself."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One held-out question with the reference and both answers."""

    question: str
    reference: str
    before: str
    after: str

    @property
    def scores(self) -> tuple[Scores, Scores]:
        """Of the model alone, and of the tuned one."""
        return score(self.reference, self.before), score(self.reference, self.after)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Answers to all held-out questions after a step."""

    step: int
    rows: tuple[Answered, ...]

    @property
    def means(self) -> tuple[Scores, Scores]:
        pairs = [row.scores for row in self.rows]
        return mean([before for before, _ in pairs]), mean([after for _, after in pairs])

    def verdict(self) -> dict[str, Any]:
        """What can be said: `finding`, n, the measure before and after, and between what its gain lies (bootstrap)."""
        pairs = [row.scores for row in self.rows]
        gains = [getattr(after, MEASURE) - getattr(before, MEASURE) for before, after in pairs]
        low, high = interval(gains)
        finding: Finding = "same"
        if len(gains) < ENOUGH_ROWS:
            finding = "few"
        elif low > 0 or high < 0:
            finding = "better" if low > 0 else "worse"
        before, after = self.means
        return {
            "finding": finding,
            "n": len(gains),
            "before": getattr(before, MEASURE),
            "after": getattr(after, MEASURE),
            "low": low,
            "high": high,
        }


def evaluation_of(run: Run, step: int) -> Evaluation | None:
    """What was found after a step; None where nobody has looked."""
    try:
        values = json.loads(_file(run, step).read_text(encoding="utf-8"))
        return Evaluation(step, tuple(Answered(**row) for row in values))
    except (OSError, ValueError, TypeError):
        return None


def evaluate(job: Job) -> dict[str, Any]:
    """The work of the job kind `finetune.evaluate`; params: run, step."""
    run = get_run(job.params["run"], job.owner)
    checkpoint = checkpoint_of(run, job.params["step"])
    rows = held_out(run)
    base, tuned = find(run.config.base), tuned_entry(run, checkpoint)
    answers: dict[str, list[str]] = {}
    for number, entry in enumerate((base, tuned)):
        answers[entry.id] = []
        for place, row in enumerate(rows):
            job.progress(number * len(rows) + place, 2 * len(rows), stage="asking")
            answers[entry.id].append(ask(entry, row, run.config.settings.max_answer_tokens or 256, job.cancel))
    found = [
        Answered(row.prompt, row.response, before, after)
        for row, before, after in zip(rows, answers[base.id], answers[tuned.id], strict=True)
    ]
    write_whole(_file(run, checkpoint.step), json.dumps([asdict(row) for row in found], ensure_ascii=False))
    return {"verdict": Evaluation(checkpoint.step, tuple(found)).verdict()}


def ask(entry: ModelEntry, row: Row, tokens: int, cancel: Cancel | None = None, strength: float = 1.0) -> str:
    """A model's greedy answer to a row's conversation without its last answer.

    Raises:
        Cancelled, ModelError.
    """
    cancel = cancel or Cancel()
    settings = GenerationSettings(temperature=0, max_length=tokens, thinking=False, strength=strength)
    said: list[str] = []
    with closing(handles.chat(entry).stream(row.messages[:-1], settings, cancel)) as events:
        for event in events:
            if cancel.is_set():
                raise Cancelled(what=entry.id)
            if isinstance(event, TextDelta):
                said.append(event.text)
    return "".join(said).strip()


def tuned_entry(run: Run, checkpoint: Checkpoint) -> ModelEntry:
    """A checkpoint as a model that can be asked: the base with its adapter, or the tuned model's own folder.

    Raises:
        AdapterRefused: the checkpoint does not tell its base.
        OSError: the disk is full or cannot be written.
    """
    if (checkpoint.folder / "model.safetensors").is_file():
        return find(checkpoint.folder)
    note = AdapterNote.read(checkpoint.folder)
    if note is None:
        raise AdapterRefused(adapter=run.id, model=run.config.base, detail="the checkpoint does not tell its base")
    base = find(note.base)
    place = where(base)
    if base.is_gguf and place and (checkpoint.folder / WEIGHTS).is_file() and not (checkpoint.folder / GGUF).is_file():
        write_whole(checkpoint.folder / GGUF, gguf_lora(checkpoint.folder, place))
    return with_adapter(base, Adapter(f"{run.id}-{checkpoint.step}", checkpoint.folder, note))


def checkpoint_of(run: Run, step: int | None) -> Checkpoint:
    """The checkpoint after a step; without one the best.

    Raises:
        NotFound: it is not there.
    """
    there = {checkpoint.step: checkpoint for checkpoint in run.checkpoints}
    found = there.get(step) if step is not None else run.best
    if found is None:
        raise NotFound(what="checkpoint", id=f"{run.id}/{step if step is not None else 'best'}")
    return found


def held_out(run: Run) -> list[Row]:
    """The held-out rows that are conversations.

    Raises:
        NoHeldOut: the run has none.
    """
    try:
        lines = (run.folder / "held_out.jsonl").read_text(encoding="utf-8").split("\n")
    except OSError:
        lines = []
    rows = [Row.from_dict(json.loads(line), number) for number, line in enumerate(filter(None, lines), start=1)]
    rows = [row for row in rows if row.prompt and row.messages[-1].role == "assistant"]
    if not rows:
        raise NoHeldOut(run=run.config.name)
    return rows


def _file(run: Run, step: int) -> Path:
    return run.folder / f"evaluation-{step:08d}.json"
