"""The jobs as records: what goes in, what can be turned, how each is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llm.cancel import Cancel
from llm.catalogue.entry import Task
from llm.controls import Control
from llm.engines.heads import HeadModel
from llm.engines.text_limits import limit_tokens
from llm.errors import BlankText, UnknownTask
from llm.tasks import blanks, rewriting, text_heads
from llm.tasks.encoding import Piece, pieces_of, windows
from llm.tasks.text_outputs import Note, TextOutput

InputKind: TypeAlias = Literal["text", "question", "picture", "sound"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runner gives back. pieces: the tokens that the model saw."""

    output: TextOutput
    pieces: tuple[Piece, ...] = ()
    notes: tuple[Note, ...] = ()


Runner: TypeAlias = Callable[[HeadModel, Sequence[str], Mapping[str, Any], Cancel | None], Answer]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One job.

    task: the hubs' tag. old_name: what the tutorials call it. inputs: what it works on, in order. controls: what people
    can turn of its run. gone: `pipeline()` of transformers 5 has it no more. run: for texts, how a loaded head does it;
    None for pictures and sound (`llm.tasks.media`). text_key: what the pipelines called a text that was written.
    """

    task: Task
    old_name: str
    inputs: tuple[InputKind, ...]
    controls: tuple[Control, ...] = ()
    gone: bool = False
    run: Runner | None = None
    text_key: str = ""


def spec_of(name: str) -> TaskSpec:
    """The job of a tag or of a tutorial's name, `translation_en_to_de` included.

    Raises:
        UnknownTask
    """
    if name.startswith("translation_"):
        name = "translation"
    for spec in TASKS.values():
        if name in (spec.task, spec.old_name):
            return spec
    raise UnknownTask(task=name[:100], known=", ".join(spec.old_name for spec in TASKS.values()))


def check_given(spec: TaskSpec, inputs: Sequence[str]) -> None:
    """
    Raises:
        BlankText: a text or a question says nothing.
    """
    for kind, text in zip(spec.inputs, inputs, strict=True):
        if kind in ("text", "question") and not str(text).strip():
            raise BlankText()


def _classify(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    output = text_heads.classify(head, inputs[:1], cancel)[0]
    notes = (Note("windows", {"count": len(output.parts)}),) if output.parts else ()
    return Answer(output, pieces_of(head, windows(head, inputs[0])), notes)


def _entities(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    output = text_heads.find_entities(head, inputs[0], cancel)
    room = limit_tokens(head.reader, head.config)
    found = windows(head, inputs[0], stride=min(text_heads.STRIDE_TOKENS, room // 4))
    notes = (Note("windows", {"count": len(found)}),) if len(found) > 1 else ()
    return Answer(output, pieces_of(head, found), notes)


def _answers(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    question = text_heads.cut_question(head, inputs[0])
    notes = [Note("question_cut", {"question": question})] if question != inputs[0] else []
    found = text_heads.question_windows(head, question, inputs[1])
    if len(found) > 1:
        notes.append(Note("windows", {"count": len(found)}))
    output = text_heads.find_answers(
        head, question, inputs[1], options["top_k"], options["max_chars"], options["may_have_none"], cancel
    )
    return Answer(output, pieces_of(head, found), tuple(notes))


def _fill(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    output = blanks.fill(head, inputs[0], options["top_k"], options["targets"])
    notes = (Note("gaps", {"count": len(output.gaps)}),) if len(output.gaps) > 1 else ()
    return Answer(output, _plain_pieces(head, blanks.seen_ids(head, inputs[0])), notes)


def _translate(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    output, notes = rewriting.translate(head, inputs[0], options["source"], options["target"], options["beams"], cancel)
    return Answer(output, _read_pieces(head, inputs[0]), tuple(notes))


def _summarize(head: HeadModel, inputs: Sequence[str], options: Mapping[str, Any], cancel: Cancel | None) -> Answer:
    output, notes = rewriting.summarize(
        head, inputs[0], options["least_tokens"], options["most_tokens"], options["beams"], cancel
    )
    return Answer(output, _read_pieces(head, inputs[0]), tuple(notes))


def _read_pieces(head: HeadModel, text: str) -> tuple[Piece, ...]:
    with head.lock:
        return _plain_pieces(head, head.reader(text)["input_ids"])


def _plain_pieces(head: HeadModel, ids: Sequence[int]) -> tuple[Piece, ...]:
    names = head.reader.convert_ids_to_tokens(list(ids))
    return tuple(Piece(str(name), int(token), 0, 0) for name, token in zip(names, ids, strict=True))


_TOP_K = Control("top_k", "integer", 5, 1, 50)
_TARGETS = Control("targets", "lines", (), advanced=True)
_BEAMS = Control("beams", "integer", 0, 0, 8, advanced=True)

TASKS: Mapping[str, TaskSpec] = {
    spec.task: spec
    for spec in (
        TaskSpec("text-classification", "sentiment-analysis", ("text",), run=_classify),
        TaskSpec("token-classification", "ner", ("text",), run=_entities),
        TaskSpec(
            "question-answering",
            "question-answering",
            ("question", "text"),
            (
                Control("top_k", "integer", 3, 1, 20),
                Control("max_chars", "integer", 120, 5, 1000, 5, advanced=True),
                Control("may_have_none", "toggle", False, advanced=True),
            ),
            gone=True,
            run=_answers,
        ),
        TaskSpec(
            "fill-mask", "fill-mask", ("text",), (_TOP_K, Control("targets", "lines", (), advanced=True)), run=_fill
        ),
        TaskSpec(
            "summarization",
            "summarization",
            ("text",),
            (
                Control("least_tokens", "integer", 0, 0, 512, advanced=True),
                Control("most_tokens", "integer", 0, 0, 1024, advanced=True),
                _BEAMS,
            ),
            gone=True,
            run=_summarize,
            text_key="summary_text",
        ),
        TaskSpec(
            "translation",
            "translation",
            ("text",),
            (Control("source", "text", ""), Control("target", "text", ""), _BEAMS),
            gone=True,
            run=_translate,
            text_key="translation_text",
        ),
        TaskSpec("image-classification", "image-classification", ("picture",)),
        TaskSpec("object-detection", "object-detection", ("picture",)),
        TaskSpec("image-segmentation", "image-segmentation", ("picture",)),
        TaskSpec("audio-classification", "audio-classification", ("sound",)),
    )
}
"""By the hubs' tag."""
TEXT_TASKS: tuple[Task, ...] = tuple(spec.task for spec in TASKS.values() if spec.run is not None)
