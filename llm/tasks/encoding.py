"""Texts as their models take them: how long they may be, windows over longer ones, and the tokens for people to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm.engines.heads import HeadModel
from llm.engines.text_limits import limit_tokens


@dataclass(frozen=True, slots=True)
class Piece:
    """A token that the model was given. start, end: its characters in the text, both 0 for control tokens."""

    text: str
    id: int
    start: int
    end: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of tokens that goes through the model at once.

    ids, offsets, special, sequence: an item for each token: its id, its characters (start, end) in its own text,
    whether it is a control token, and which text it belongs to (None for control tokens).
    """

    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    special: Sequence[bool]
    sequence: Sequence[int | None]
    kinds: Sequence[int] | None = None

    def inputs(self) -> dict[str, Any]:
        """Tensors of shape (1, tokens) for the model."""
        import torch

        ids = torch.tensor([list(self.ids)])
        found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.kinds is not None:
            found["token_type_ids"] = torch.tensor([list(self.kinds)])
        return found


def windows(head: HeadModel, text: str, pair: str | None = None, stride: int = 0, most: int = 0) -> list[Window]:
    """The windows over `text`, or over `pair` with `text` (a question) at the beginning of each.

    Args:
        stride: tokens that neighbours share. most: tokens of a window, if fewer than the model takes.
    """
    tokenizer = head.reader
    room = limit_tokens(tokenizer, head.config)
    room = min(room, most) if most else room
    with head.lock:
        encoded = tokenizer(
            *([text] if pair is None else [text, pair]),
            truncation=True if pair is None else "only_second",
            max_length=room,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
    kinds = encoded.get("token_type_ids")
    return [
        Window(
            ids,
            [(int(start), int(end)) for start, end in encoded["offset_mapping"][at]],
            [bool(one) for one in encoded["special_tokens_mask"][at]],
            encoded.sequence_ids(at),
            None if kinds is None else kinds[at],
        )
        for at, ids in enumerate(encoded["input_ids"])
    ]


def pieces_of(head: HeadModel, found: Sequence[Window], of: int | None = None) -> tuple[Piece, ...]:
    """The tokens of windows, for people to see. of: only those of this text, 0 or 1; None takes all."""
    pieces = []
    for number, window in enumerate(found):
        names = head.reader.convert_ids_to_tokens(list(window.ids))
        for at, name in enumerate(names):
            if of is None or window.sequence[at] == of:
                start, end = window.offsets[at]
                pieces.append(Piece(str(name), int(window.ids[at]), start, end, number))
    return tuple(pieces)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch without the white space around it: some tokenizers count a word's space as its own."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


# Scripts that put no spaces between words: ranges of code points.
_NO_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x9FFF),
              (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x20000, 0x3FFFF))  # fmt: skip


def same_word(text: str, at: int) -> bool:
    """Whether the characters before and after a place belong to one word of a script with spaces between words."""
    if not 0 < at < len(text):
        return False
    return all(
        character.isalnum() and not any(low <= ord(character) <= high for low, high in _NO_SPACES)
        for character in text[at - 1 : at + 1]
    )
