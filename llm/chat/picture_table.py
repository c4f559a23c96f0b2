"""One question over many pictures, as a job: a row for each picture, as they are answered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.lookup import find
from llm.errors import Cancelled, ModelError
from llm.events import Finished, TextDelta
from llm.jobs import Job, error_fields
from llm.messages import user
from llm.runtime import handles
from llm.settings import GenerationSettings
from llm.vision.picture import take_in

ANSWER_TOKENS = 512


def run(job: Job) -> dict[str, Any]:
    """Asks `question` of `model` about each input. A picture that cannot be read is a row that says why.

    The result is `rows`: a list of {picture, answer} or {picture, error_code, error_values, error_text}.
    """
    rows: list[dict[str, Any]] = list(job.result.get("rows", []))
    pictures = job.inputs
    for name, path in pictures[len(rows) :]:
        job.progress(len(rows), len(pictures), "pictures")
        rows.append({"picture": name, **_row(path, name, job)})
        job.keep(rows=rows)
    return {"rows": rows}


def _row(path: Path, name: str, job: Job) -> dict[str, Any]:
    try:
        return {"answer": _answer(path, name, job.params["model"], job.params["question"], job.cancel)}
    except Cancelled:
        raise
    except ModelError as error:
        return error_fields(error)


def _answer(path: Path, name: str, model_id: str, question: str, cancel: Cancel) -> str:
    """
    Raises:
        Cancelled: in the middle of the answer.
        ModelError: the picture cannot be read, or the model cannot answer.
    """
    if cancel.is_set():
        raise Cancelled(what=name)
    entry = find(model_id)
    settings = GenerationSettings().with_values({**entry.sampling, "temperature": 0.0, "max_length": ANSWER_TOKENS})
    part = take_in(path.read_bytes(), name).part
    said = ""
    with closing(handles.chat(entry).stream([user(part, question)], settings, cancel)) as events:
        for event in events:
            if isinstance(event, TextDelta):
                said += event.text
            elif isinstance(event, Finished) and event.reason == "cancelled":
                raise Cancelled(what=name)
    return said.strip()
