"""Rows as the ids that the chat would send, and which of them are trained.

Prompts come from the renderer of the chat itself; an answer is its own words' ids and the tag that ends a turn, as the
model is to write them. Prompts are masked by position, never by id; the end is trained, or the model would not stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from llm.errors import ModelError
from llm.finetune.data import Row
from llm.finetune.settings import TrainSettings
from llm.messages import assistant, user
from llm.prompt import Piece, Span
from llm.runtime.chat_model import EngineChatModel

Left: TypeAlias = Literal["", "empty", "long", "refused", "single"]
"""Why a row is left out: nothing in it to learn; longer than is allowed; the model's template refuses it; it has no
worse answer to be told from."""
_WORDS = frozenset(("system", "user", "assistant", "tool"))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as it is trained.

    ids, trained, pieces are of the same length. cut: tokens that were cut off. left: why it is left out; empty when it
    is trained. number: the row's. worse: the same with the worse answer, where what is learnt is which is better.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    cut: int = 0
    left: Left = ""
    number: int = 0
    worse: Encoded | None = None

    @property
    def places(self) -> list[int]:
        """Places of the tokens that are learnt, each from all before it; the first has nothing before it."""
        return [place for place, trained in enumerate(self.trained) if trained and place]

    @property
    def trained_tokens(self) -> int:
        return len(self.places)


def encode_row(model: EngineChatModel, row: Row, settings: TrainSettings) -> Encoded:
    """A row's ids by a model's own renderer; of a text all, see `trainable`.

    A row that is left out has no trained tokens, and says why.
    """
    try:
        found = _encoded(model, row, settings)
    except ModelError:
        return Encoded((), (), left="refused", number=row.number)
    if not found.left and not found.trained_tokens:
        found = replace(found, left="empty")
    return replace(found, number=row.number)


def trainable(
    model: EngineChatModel, rows: Iterable[Row], settings: TrainSettings
) -> tuple[list[Encoded], list[Encoded]]:
    """What is trained of the rows, and what is left out. A text is learnt in stretches of at most `max_tokens`."""
    kept: list[Encoded] = []
    left: list[Encoded] = []
    for row in rows:
        whole = encode_row(model, row, settings) if settings.learn == "answers" else _pair(model, row, settings)
        (left if whole.left else kept).extend([whole] if row.messages else _stretches(whole, settings.max_tokens))
    return kept, left


def _pair(model: EngineChatModel, row: Row, settings: TrainSettings) -> Encoded:
    """The better answer's ids with the worse one's; only the last answer of a conversation is learnt."""
    if not row.messages or not row.rejected.strip():
        return Encoded((), (), left="single", number=row.number)
    settings = replace(settings, turns="last")
    better = encode_row(model, row, settings)
    worse = encode_row(model, replace(row, messages=(*row.messages[:-1], assistant(row.rejected))), settings)
    return replace(better, worse=worse, left=better.left or worse.left)


def prompt_ids(model: EngineChatModel, row: Row) -> list[int]:
    """What the chat would send to have a row's last answer written."""
    return list(model.prompt(row.messages[:-1], keep_all=True).ids)


def _encoded(model: EngineChatModel, row: Row, settings: TrainSettings) -> Encoded:
    if not row.messages:
        text = [*_plain(model, row.text), _end(model, row)] if row.text.strip() else []
        return Encoded(tuple(p.id for p in text), (True,) * len(text), tuple(text))
    answers = [place for place, message in enumerate(row.messages) if message.role == "assistant"]
    wanted = answers if settings.turns == "all" else answers[-1:]
    end = _end(model, row)
    pieces: list[Piece] = []
    trained: list[bool] = []
    for place in wanted:
        words = row.messages[place].text
        if not words.strip():
            continue
        prompt = list(model.prompt(row.messages[:place], keep_all=True).pieces)
        if settings.max_prompt_tokens and len(prompt) > settings.max_prompt_tokens and settings.cut != "drop":
            prompt = _shorter(prompt, len(prompt) - settings.max_prompt_tokens, settings.cut)
        # ChatGLM3 begins each answer with a line for a tool's name, which is empty.
        answer = _plain(model, "\n" + words if model.family.answers_begin_with_metadata else words)
        longest = settings.max_answer_tokens - 1 if settings.max_answer_tokens else len(answer)
        if settings.cut == "answer":
            answer = answer[:longest]
        elif len(answer) > longest:
            return _left("long", [*prompt, *answer, end])
        if [p.id for p in prompt[: len(pieces)]] != [p.id for p in pieces]:
            pieces, trained = [], []  # a template that writes earlier turns otherwise: the last one alone is trained
        fresh = prompt[len(pieces) :]
        # ChatGLM-6B's recipe also teaches the tag that begins an answer, <sop>, which the prompt ends with.
        begins = [False] * len(fresh[:-1]) + [model.family.name == "chatglm"] if fresh else []
        pieces = [*pieces, *fresh, *answer, end]
        trained = [*trained, *begins, *[True] * (len(answer) + 1)]
    return _bounded(pieces, trained, settings)


def _bounded(pieces: list[Piece], trained: list[bool], settings: TrainSettings) -> Encoded:
    """A row cut to its longest as asked; the template's own tags stay, and so does the end of an answer."""
    over = len(pieces) - settings.max_tokens
    if over <= 0:
        return Encoded(tuple(p.id for p in pieces), tuple(trained), tuple(pieces))
    if settings.cut == "drop":
        return _left("long", pieces)
    if settings.cut == "front":
        gone = [n for n, piece in enumerate(pieces) if not trained[n] and piece.kind in _WORDS][:over]
    else:
        last = max((n for n, is_trained in enumerate(trained) if not is_trained), default=-1)
        gone = list(range(len(pieces) - 1))[last + 1 :][-over:]
    if len(gone) < over:
        return _left("long", pieces)
    kept = [n for n in range(len(pieces)) if n not in set(gone)]
    return Encoded(
        tuple(pieces[n].id for n in kept), tuple(trained[n] for n in kept), tuple(pieces[n] for n in kept), over
    )


def _stretches(text: Encoded, size: int) -> list[Encoded]:
    """A text cut into stretches; one of a single token has nothing to learn."""
    if text.left:
        return [text]
    parts = [slice(start, start + size) for start in range(0, len(text.ids), size)]
    made = [replace(text, ids=text.ids[p], trained=text.trained[p], pieces=text.pieces[p]) for p in parts]
    return [part for part in made if len(part.ids) > 1]


def _left(why: Left, pieces: list[Piece]) -> Encoded:
    return Encoded(tuple(p.id for p in pieces), (False,) * len(pieces), tuple(pieces), left=why)


def _shorter(prompt: list[Piece], over: int, cut: str) -> list[Piece]:
    """A prompt without the first of its words, or the last as ChatGLM's recipe has it; the template's tags stay."""
    words = [place for place, piece in enumerate(prompt) if piece.kind in _WORDS]
    gone = set(words[:over] if cut == "front" else words[-over:])
    return [piece for place, piece in enumerate(prompt) if place not in gone]


def _plain(model: EngineChatModel, text: str) -> list[Piece]:
    """A text's own ids, without the tag that a whole prompt begins with."""
    return [piece for piece in model.engine.encode([Span(text, "assistant")]).pieces if piece.kind != "control"]


def _end(model: EngineChatModel, row: Row) -> Piece:
    """The tag that ends an answer: the first one behind it in the template, where it is one that ends answers."""
    stops = model.family.stop_ids(model.engine) | model.engine.stop_ids
    names = {token_id: text for text, token_id in model.engine.special_tokens.items()}
    if row.messages:
        rendered = model.prompt([*row.messages, user("…")], keep_all=True).pieces
        last = max((n for n, piece in enumerate(rendered) if piece.kind == "assistant"), default=len(rendered))
        tag = next((piece for piece in rendered[last:] if piece.kind == "control"), None)
        if tag is not None and tag.id in stops:
            return tag
    end = min(model.engine.stop_ids or stops)
    return Piece(end, names.get(end, ""), "control")
