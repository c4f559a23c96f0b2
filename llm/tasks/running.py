"""`llm.tasks.run`: one job on one input, with a model that was trained for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import psutil

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import entries_for, find, where
from llm.controls import Control, checked
from llm.errors import InvalidRequest, NoModelForTask, WrongTask
from llm.runtime import handles
from llm.tasks.by_chat import CHAT_CONTROLS, answer_by_chat, can_do
from llm.tasks.media import PICTURE_TASKS, MediaRun, run_picture, run_sound
from llm.tasks.registry import TaskSpec, check_given, spec_of
from llm.tasks.text_outputs import TextRun

Run: TypeAlias = TextRun | MediaRun
COMFORTABLE_PARAMETERS = 4_000_000_000
"""The largest chat model that is taken without having been chosen: a larger one is slow where nobody expects it."""
_REWRITES = {"summarization", "translation"}


def run(task: str, *inputs: Any, model: handles.Model = "", cancel: Cancel | None = None, **options: Any) -> Run:
    """Does a job.

    Args:
        task: a hub's tag or the tutorials' name: "ner", "token-classification", "translation_en_to_fr" ...
        inputs: a text; for question-answering the question and the text; a picture or a sound as path, bytes or array.
        model: an id, a folder or an entry; empty takes the first on this machine that is for the job.
        options: the values of the job's controls (`TASKS[tag].controls`).

    Raises:
        ModelError: the task or an option is unknown, an input is blank or cannot be read, the model is not there or is
            for something else.
    """
    spec = spec_of(task)
    entry = entry_for(spec, model)
    if spec.run is None:
        if options:
            raise InvalidRequest(detail=f"{task} has no options")
        if spec.task in PICTURE_TASKS:
            return run_picture(inputs[0], entry)
        return run_sound(inputs[0], entry, cancel=cancel)
    if len(inputs) != len(spec.inputs):
        raise InvalidRequest(detail=f"{spec.task} takes {' and '.join(spec.inputs)}")
    try:
        chosen = checked(controls_of(spec, entry), options)
    except ValueError as error:
        raise InvalidRequest(detail=str(error)) from error
    return _run_text(spec, entry, [str(given) for given in inputs], chosen, cancel)


def controls_of(spec: TaskSpec, entry: ModelEntry) -> tuple[Control, ...]:
    """What can be turned of a job with this model."""
    return CHAT_CONTROLS[spec.task] if entry.converses else spec.controls


def entry_for(spec: TaskSpec, model: handles.Model = "") -> ModelEntry:
    """The model that is to do a job.

    Raises:
        NoModelForTask: none was named, and none is here. WrongTask: it was trained for something else.
    """
    if not model:
        return _first_here(spec)
    entry = model if isinstance(model, ModelEntry) else find(model)
    if can_do(spec.task, entry):
        return entry
    if entry.task != spec.task and not {entry.task, spec.task} <= _REWRITES:
        raise WrongTask(model=entry.name, does=entry.task, task=spec.task)
    return entry


def _first_here(spec: TaskSpec) -> ModelEntry:
    """A model that was trained for the job, else the largest chat model: they get better with their size."""
    here = [entry for entry in entries_for(spec.task) if where(entry) is not None]
    if here:
        return here[0]
    chats = [entry for entry in entries_for("text-generation") if can_do(spec.task, entry) and where(entry) is not None]
    if not chats:
        raise NoModelForTask(task=spec.task)
    fitting = [entry for entry in chats if entry.parameters <= COMFORTABLE_PARAMETERS]
    return max(fitting or chats, key=lambda entry: entry.parameters if fitting else -entry.parameters)


def _run_text(
    spec: TaskSpec, entry: ModelEntry, inputs: Sequence[str], options: dict[str, Any], cancel: Cancel | None
) -> TextRun:
    check_given(spec, inputs)
    assert spec.run is not None
    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    if entry.converses:
        chat = handles.chat(entry)
        loaded = time.perf_counter()
        answer = answer_by_chat(spec.task, chat, inputs, options, cancel)
    else:
        handle = handles.task_model(entry)
        loaded = time.perf_counter()
        with handle.in_use() as head:
            answer = spec.run(head, inputs, options, cancel)
    seconds = {"load": loaded - begun, "model": time.perf_counter() - loaded}
    grown = max(0, psutil.Process().memory_info().rss - before)
    return TextRun(
        spec.task,
        entry.id,
        answer.output,
        options,
        answer.pieces,
        answer.notes,
        chat=entry.converses,
        seconds=seconds,
        memory_bytes=grown,
    )
