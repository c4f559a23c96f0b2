"""The kinds of job that there are, one row each.

The work is named by its path and imported when it begins: this room lies below the capabilities whose work it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm.jobs.record import JobRecord
    from llm.jobs.registry import Job


@dataclass(frozen=True, slots=True)
class JobKind:
    """How work of a kind is run.

    run: `module:function`, called with the `Job`; what it returns is the result. resumes: a job that was running when
    the process ended goes on by itself at the next start; otherwise it has failed and says so. pausable: pausing ends
    the work so that it can go on later from what it has kept. at_once: how many run at the same time. shared: it
    belongs to the machine, so that everybody sees it. discard: `module:function`, called with the record of a job that
    is given up, to remove what its work has kept elsewhere than in the job's folder.
    """

    run: str
    resumes: bool = False
    pausable: bool = False
    at_once: int = 1
    shared: bool = False
    discard: str = ""

    def work(self) -> Callable[[Job], dict[str, Any] | None]:
        work: Callable[[Job], dict[str, Any] | None] = _named(self.run)
        return work

    def give_up(self, record: JobRecord) -> None:
        """Removes what the work of a job has kept elsewhere."""
        if self.discard:
            _named(self.discard)(record)


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


KINDS: dict[str, JobKind] = {
    "image.table": JobKind("llm.chat.picture_table:run", resumes=True, pausable=True),
    "tasks.files": JobKind("llm.tasks.files:run", resumes=True, pausable=True),
    "tasks.table": JobKind("llm.tasks.tables:run", resumes=True, pausable=True),
    "finetune.run": JobKind("llm.finetune.training:train", resumes=True, pausable=True),
    "finetune.evaluate": JobKind("llm.finetune.evaluate:evaluate"),
    "finetune.trial": JobKind("llm.finetune.trial:tried"),
    "finetune.export": JobKind("llm.finetune.export:make"),
    "speech.transcribe": JobKind("llm.chat.recordings:run", resumes=True, at_once=2),
    "knowledge.read": JobKind("llm.knowledge.reading:read_base", resumes=True, pausable=True),
    "models.download": JobKind(
        "llm.sources.downloads:run",
        resumes=True,
        pausable=True,
        at_once=3,
        shared=True,
        discard="llm.sources.downloads:discard",
    ),
    "models.verify": JobKind("llm.sources.verification:run", resumes=True),
}
