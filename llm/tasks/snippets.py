"""The code beside an answer: the tutorials' line where it still gives the same, and what the page ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import Any

from llm.tasks.registry import TASKS, TaskSpec
from llm.tasks.text_outputs import Entities, Fillings, FoundAnswers, Rewritten, TextClasses, TextRun, tag_of


@dataclass(frozen=True, slots=True)
class Snippets:
    """Code for one run. Each leaves what was found in `answer`.

    pipeline: transformers' own line with these settings; empty where it does not give the same. old: the tutorials'
    line that does not work any more, or not for this input; empty where `pipeline` is there. gone: whether
    transformers 5 has the task no more. plain: the same with transformers alone, for the tasks that are gone; empty
    where that is more than a few lines. hearth: what the page ran.
    """

    pipeline: str
    old: str
    gone: bool
    plain: str
    hearth: str


def snippets_of(run: TextRun, inputs: Sequence[str], folder: str) -> Snippets:
    """The code for an answer.

    Args:
        folder: where the model lies, or its id for a chat model.
    """
    spec = TASKS[run.task]
    line = "" if run.chat or spec.gone else _pipeline(spec, run, inputs, folder)
    old = "" if line else f'pipeline("{spec.old_name}")({", ".join(_short(text) for text in inputs)})'
    plain = "" if run.chat or len(_windows(run)) > 1 else _plain(spec, run, inputs, folder)
    return Snippets(line, old, spec.gone, plain, _hearth(spec, run, inputs))


def _hearth(spec: TaskSpec, run: TextRun, inputs: Sequence[str]) -> str:
    names = [f"{kind} = {_literal(text)}" for kind, text in zip(spec.inputs, inputs, strict=True)]
    options = "".join(
        f", {name}={value!r}" for name, value in run.options.items() if _is_set(spec, name, value, run.chat)
    )
    call = f'answer = llm.tasks.run("{spec.old_name}", {", ".join(spec.inputs)}, model={run.model!r}{options})'
    return "\n".join(["import llm.tasks", "", *names, call, "print(answer.output)"])


def _is_set(spec: TaskSpec, name: str, value: Any, chat: bool) -> bool:
    if chat:
        return bool(value)
    return any(control.name == name and control.default != value for control in spec.controls)


def _pipeline(spec: TaskSpec, run: TextRun, inputs: Sequence[str], folder: str) -> str:
    """The line, where it gives what the page gives: one window, and labels that it can put together."""
    if len(_windows(run)) > 1:
        return ""
    arguments: Mapping[str, Any] = {}
    text = inputs[0]
    if isinstance(run.output, TextClasses):
        arguments = {"top_k": None}
    elif isinstance(run.output, Entities):
        letters = {tag_of(token.label)[0] for token in run.output.tokens if token.label != "O"}
        if not letters <= {"B", "I"}:
            return ""
        arguments = {"aggregation_strategy": "first"}
    elif isinstance(run.output, Fillings):
        mask = next((piece.text for piece in run.pieces if "mask" in piece.text.lower()), "[MASK]")
        if len(run.output.gaps) > 1 or run.options["targets"]:
            return ""
        start, end = run.output.gaps[0]
        text = text[:start] + mask + text[end:]
        arguments = {"top_k": run.options["top_k"]}
    given = "".join(f", {name}={value!r}" for name, value in arguments.items())
    return (
        "from transformers import pipeline\n\n"
        f"text = {_literal(text)}\n"
        f'answer = pipeline("{spec.old_name}", model={folder!r}, device="cpu"{given})(text)'
    )


def _plain(spec: TaskSpec, run: TextRun, inputs: Sequence[str], folder: str) -> str:
    if isinstance(run.output, FoundAnswers):
        return _QUESTION.format(folder=folder, question=_literal(inputs[0]), text=_literal(inputs[1]))
    if isinstance(run.output, Rewritten) and len(run.output.parts) == 1:
        given = "".join(f", {name}={value!r}" for name, value in run.output.arguments.items())
        text = _literal(run.output.prefix + run.output.parts[0][0])
        return _REWRITE.format(folder=folder, text=text, arguments=given)
    return ""


def _windows(run: TextRun) -> set[int]:
    return {piece.window for piece in run.pieces} or {0}


def _literal(text: str) -> str:
    return repr(text) if len(text) < 90 else pformat(text, width=100)


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else text[:24] + "…")


_QUESTION = """import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

question = {question}
text = {text}
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForQuestionAnswering.from_pretrained({folder!r})
inputs = tokenizer(question, text, return_tensors="pt", return_offsets_mapping=True)
places = inputs.pop("offset_mapping")[0].tolist()
inside = [at for at, number in enumerate(inputs.sequence_ids(0)) if number == 1]
with torch.inference_mode():
    found = model(**inputs)
pairs = [(first, last) for first in inside for last in inside if last >= first]
first, last = max(pairs, key=lambda pair: found.start_logits[0, pair[0]] + found.end_logits[0, pair[1]])
answer = text[places[first][0] : places[last][1]]"""

_REWRITE = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

text = {text}
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForSeq2SeqLM.from_pretrained({folder!r})
inputs = tokenizer(text, return_tensors="pt")
inputs.pop("token_type_ids", None)
written = model.generate(**inputs{arguments}, do_sample=False)
answer = tokenizer.decode(written[0], skip_special_tokens=True)"""
