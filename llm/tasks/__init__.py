"""Jobs that models are trained for, one record each: `llm.tasks.run("ner", text, model=...)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.tasks.running import Run


def run(task: str, *inputs: Any, **options: Any) -> Run:
    """See `llm.tasks.running.run`; what it needs is imported when it is first called."""
    from llm.tasks.running import run as run_task

    return run_task(task, *inputs, **options)
