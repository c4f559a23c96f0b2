"""What text jobs answer. Stretches are in characters of the given text; what is shown is always `text[start:end]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from llm.tasks.encoding import Piece, same_word, trimmed
from llm.tasks.media import Classified


@dataclass(frozen=True, slots=True)
class LabelledPart:
    """A part of a long text with the label that it got by itself."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class TextClasses:
    """The labels of a whole text. parts: of each window, where there were several; else empty."""

    classes: Classified
    parts: tuple[LabelledPart, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """The best label of one token. word_inside: a later piece of a word, whose first one decides."""

    start: int
    end: int
    label: str
    score: float
    word_inside: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """A stretch and what it is. score: the mean over its tokens; None where a chat model answered."""

    start: int
    end: int
    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Entities:
    """What stands in a text. tokens: what they were made of, so that they can be joined otherwise without the model.

    dropped: how many answers of a chat model did not stand in the text.
    """

    text: str
    entities: tuple[Entity, ...]
    tokens: tuple[TokenLabel, ...] = ()
    dropped: int = 0

    def joined(self, join: bool) -> tuple[Entity, ...]:
        """The entities, with `join` those of one label that touch as one."""
        found: list[Entity] = []
        for entity in self.entities:
            last = found[-1] if found else None
            if join and last and last.label == entity.label and not self.text[last.end : entity.start].strip():
                shares = (last.end - last.start, entity.end - entity.start)
                score = None
                if last.score is not None and entity.score is not None:
                    score = (last.score * shares[0] + entity.score * shares[1]) / sum(shares)
                found[-1] = Entity(last.start, entity.end, entity.label, score)
            else:
                found.append(entity)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """start, end: where it stands; both -1 for an answer in a chat model's own words."""

    text: str
    start: int
    end: int
    score: float | None


@dataclass(frozen=True, slots=True)
class FoundAnswers:
    """The best answers and what speaks for there being none: its share of the same softmax; None: not known.

    no_answer: the model says that the text does not answer the question.
    """

    context: str
    answers: tuple[FoundAnswer, ...]
    no_answer_score: float | None = None
    no_answer: bool = False


@dataclass(frozen=True, slots=True)
class Filling:
    """A word for a gap. token: its id, -1 for one of several pieces. sequence: the text with it in its place."""

    word: str
    score: float
    token: int
    sequence: str


@dataclass(frozen=True, slots=True)
class Fillings:
    """For each gap, left to right, the words that fit, the best first. gaps: their stretches in the given text.

    A gap sees those before it filled with their best words.
    """

    text: str
    gaps: tuple[tuple[int, int], ...]
    words: tuple[tuple[Filling, ...], ...]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Another text. parts: given and written stretches, one for each that went through the model by itself.

    prefix, arguments: what a network with a head was given with the last of them.
    """

    text: str
    parts: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


TextOutput: TypeAlias = TextClasses | Entities | FoundAnswers | Fillings | Rewritten


@dataclass(frozen=True, slots=True)
class Note:
    """Something that people should know of a run: `tasks.note_<code>` with its values filled in."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextRun:
    """One answer. pieces: the tokens that the model saw. chat: whether a chat model answered.

    seconds: by part of the work: load, prepare, model. memory_bytes: by how much the process grew.
    """

    task: str
    model: str
    output: TextOutput
    options: Mapping[str, Any]
    pieces: tuple[Piece, ...] = ()
    notes: tuple[Note, ...] = ()
    chat: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: int = 0


_OUTSIDE = {"O", "o", "X", "PAD", "[PAD]", "<pad>", "[CLS]", "[SEP]", "<s>", "</s>"}
_PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S"}


def tag_of(label: str) -> tuple[str, str]:
    """(B, I, E or S; the kind) of a label in BIO, BIOES, BILOU or BMES, whichever side its letter stands on.

    A bare label has no letter: neighbours of one kind belong together.
    """
    for mark in "-_":
        letter, _, kind = label.partition(mark)
        if kind and letter in _PREFIXES:
            return _PREFIXES[letter], kind
        kind, _, letter = label.rpartition(mark)
        if kind and letter in _PREFIXES:
            return _PREFIXES[letter], kind
    return "", label


def entities_of(text: str, tokens: Sequence[TokenLabel]) -> tuple[Entity, ...]:
    """Stretches from tokens in their order: the first piece of a word decides for all of it."""
    found: list[_Growing] = []
    current: _Growing | None = None
    for token in tokens:
        if token.word_inside:
            if current is not None:
                current.end = token.end
            continue
        letter, kind = tag_of(token.label)
        if token.label in _OUTSIDE:
            current = None
            continue
        goes_on = (
            current is not None
            and not current.closed
            and current.kind == kind
            and letter in ("I", "E", "")
            and not text[current.end : token.start].strip()
        )
        if current is not None and goes_on:
            current.end = token.end
            current.scores.append(token.score)
            current.closed = letter == "E"
        else:
            current = _Growing(token.start, token.end, kind, [token.score], letter == "S")
            found.append(current)
    stretches = []
    for one in found:
        start, end = trimmed(text, one.start, one.end)
        if end > start:
            stretches.append(Entity(start, end, one.kind, sum(one.scores) / len(one.scores)))
    return tuple(stretches)


@dataclass(slots=True)
class _Growing:
    start: int
    end: int
    kind: str
    scores: list[float]
    closed: bool


def is_inside_word(text: str, last_end: int | None, start: int) -> bool:
    """Whether a token that starts here goes on with the word of the one that ended at `last_end`."""
    return last_end == start and same_word(text, start)
