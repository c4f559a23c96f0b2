"""The kinds of job that there are, one row each.

The work is named by its path and imported when it begins: this room lies below the capabilities whose work it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm.jobs.registry import Job


@dataclass(frozen=True, slots=True)
class JobKind:
    """How work of a kind is run.

    run: `module:function`, called with the `Job`; what it returns is the result. resumes: a job that was running when
    the process ended goes on by itself at the next start; otherwise it has failed and says so. pausable: pausing ends
    the work so that it can go on later from what it has kept. at_once: how many run at the same time.
    """

    run: str
    resumes: bool = False
    pausable: bool = False
    at_once: int = 1

    def work(self) -> Callable[[Job], dict[str, Any] | None]:
        module, _, name = self.run.partition(":")
        work: Callable[[Job], dict[str, Any] | None] = getattr(import_module(module), name)
        return work


KINDS: dict[str, JobKind] = {
    "image.table": JobKind("llm.chat.picture_table:run", resumes=True, pausable=True),
    "tasks.files": JobKind("llm.tasks.files:run", resumes=True, pausable=True),
    "finetune.run": JobKind("llm.finetune.training:train", resumes=True, pausable=True),
    "finetune.evaluate": JobKind("llm.finetune.evaluate:evaluate"),
    "finetune.export": JobKind("llm.finetune.export:make"),
    "models.verify": JobKind("llm.sources.verification:run", resumes=True),
}
