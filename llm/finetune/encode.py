"""Rows as the ids that the chat would send, and which of them are trained.

Prompts come from the renderer of the chat itself; an answer is its own words' ids and the tag that ends a turn, as the
model is to write them. Prompts are never trained; the end is, or the model would not stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llm.finetune.data import Row
from llm.finetune.settings import TrainSettings
from llm.messages import user
from llm.prompt import Piece, Span
from llm.runtime.chat_model import EngineChatModel


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as it is trained. ids, trained, pieces are of the same length; `cut` tokens were left out at its end."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    cut: int = 0

    @property
    def trained_tokens(self) -> int:
        return sum(self.trained)


def encode_row(model: EngineChatModel, row: Row, settings: TrainSettings) -> Encoded:
    """A row's ids by a loaded model's own renderer. A row that is dropped for its length has no trained tokens.

    Raises:
        ModelError: the template does not take the conversation, or it does not fit into the context.
    """
    if not row.messages:
        text = [*_plain(model, row.text), _end(model, row)]
        return _bounded(text, [True] * len(text), settings)
    answers = [place for place, message in enumerate(row.messages) if message.role == "assistant"]
    wanted = answers if settings.turns == "all" else answers[-1:]
    pieces: list[Piece] = []
    trained: list[bool] = []
    for place in wanted:
        prompt = list(model.prompt(row.messages[:place], keep_all=True).pieces)
        answer = [*_plain(model, row.messages[place].text)[: _answer_bound(settings)], _end(model, row)]
        if [p.id for p in prompt[: len(pieces)]] != [p.id for p in pieces]:
            pieces, trained = [], []  # a template that writes earlier turns otherwise: the last one alone is trained
        fresh = prompt[len(pieces) :]
        pieces = [*pieces, *fresh, *answer]
        trained = [*trained, *[False] * len(fresh), *[True] * len(answer)]
    return _bounded(pieces, trained, settings)


def prompt_ids(model: EngineChatModel, row: Row) -> list[int]:
    """What the chat would send to have a row's last answer written."""
    return list(model.prompt(row.messages[:-1], keep_all=True).ids)


def _bounded(pieces: list[Piece], trained: list[bool], settings: TrainSettings) -> Encoded:
    over = len(pieces) - settings.max_tokens
    if over > 0 and settings.cut == "drop":
        return Encoded(tuple(p.id for p in pieces), (False,) * len(pieces), tuple(pieces), over)
    if over > 0 and settings.cut == "front":
        pieces, trained = pieces[over:], trained[over:]
    if over > 0 and settings.cut == "answer":
        pieces, trained = pieces[: settings.max_tokens], trained[: settings.max_tokens]
    return Encoded(tuple(p.id for p in pieces), tuple(trained), tuple(pieces), max(0, over))


def _answer_bound(settings: TrainSettings) -> int | None:
    return settings.max_answer_tokens if settings.cut == "answer" else None


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
