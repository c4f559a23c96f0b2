"""Words for gaps in a text, through a masked language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.engines.heads import HeadModel
from llm.engines.text_limits import limit_tokens
from llm.errors import NoMask, UnsupportedModel
from llm.tasks.text_outputs import Filling, Fillings

_GAP = re.compile(r"\[MASK\]|<mask>|_{3,}|【\s*】", re.IGNORECASE)
MOST_GAPS = 32


def gaps_of(text: str, mask: str) -> list[tuple[int, int]]:
    """Where a text has gaps: `[MASK]`, `<mask>`, `___`, `【】` or the model's own mask.

    Raises:
        NoMask: nowhere.
    """
    found = sorted(
        {match.span() for pattern in (_GAP, re.compile(re.escape(mask))) for match in pattern.finditer(text)}
    )
    if not found:
        raise NoMask(mask=mask)
    return found[:MOST_GAPS]


def fill(head: HeadModel, text: str, top_k: int = 5, targets: Sequence[str] = ()) -> Fillings:
    """Words for each gap, from left to right: a gap sees those before it filled with their best words.

    Args:
        targets: only these words are scored; the score of one of several pieces is the product of theirs, each piece
            seeing those before it. They share out nothing: each is its own probability.

    Raises:
        NoMask: there is no gap. UnsupportedModel: the tokenizer has no mask.
    """
    mask = head.reader.mask_token
    if mask is None:
        raise UnsupportedModel(path=head.entry.name, detail="its tokenizer has no mask token")
    gaps = gaps_of(text, mask)
    before, done = "", 0
    words: list[tuple[Filling, ...]] = []
    for start, end in gaps:
        before += text[done:start]
        after = text[end:]
        done = end
        best = _targets(head, before, after, targets) if targets else _vocabulary(head, before, after, top_k)
        best.sort(key=lambda one: -one.score)
        words.append(tuple(best[: top_k if not targets else None]))
        before += best[0].word
    return Fillings(text, tuple(gaps), tuple(words))


def _vocabulary(head: HeadModel, before: str, after: str, top_k: int) -> list[Filling]:
    shares = _shares(head, before, [], after)
    order = np.argsort(-shares, kind="stable")[: min(top_k, len(shares))]
    return [_filling(before, after, word_of(head.reader, int(at)), float(shares[at]), int(at)) for at in order]


def _targets(head: HeadModel, before: str, after: str, targets: Sequence[str]) -> list[Filling]:
    found = []
    for target in dict.fromkeys(word.strip() for word in targets if word.strip()):
        spaced = f" {target}" if before[-1:].isspace() or not before else target
        ids = _ids(head, spaced)
        score = 1.0
        for at, piece in enumerate(ids):
            score *= float(_shares(head, before, ids[:at], after, len(ids) - at)[piece])
        found.append(_filling(before, after, target, score, ids[0] if len(ids) == 1 else -1))
    return found


def _filling(before: str, after: str, word: str, score: float, token: int) -> Filling:
    return Filling(word, score, token, before + word + after)


def _shares(head: HeadModel, before: str, filled: Sequence[int], after: str, masks: int = 1) -> np.ndarray:
    """The vocabulary's shares of the first of `masks` gaps behind `filled`. A long text is cut around it."""
    import torch

    tokenizer = head.reader
    gap = [*filled, *[tokenizer.mask_token_id] * masks]
    left, right = _ids(head, before), _ids(head, _GAP.sub(tokenizer.mask_token, after))
    head_ids, tail_ids = _frame(head)
    room = limit_tokens(tokenizer, head.config) - len(head_ids) - len(tail_ids) - len(gap)
    keep_right = min(len(right), max(room // 2, room - len(left)))
    left = left[max(0, len(left) - (room - keep_right)) :]
    ids = torch.tensor([[*head_ids, *left, *gap, *right[:keep_right], *tail_ids]])
    at = len(head_ids) + len(left) + len(filled)
    with head.lock:
        logits = head.forward(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    shares: np.ndarray = logits[0, at].float().softmax(-1).cpu().numpy()
    return shares


def _frame(head: HeadModel) -> tuple[list[int], list[int]]:
    """The control tokens that stand before and after a text."""
    with head.lock:
        encoded = head.reader("a", return_special_tokens_mask=True)
    special = encoded["special_tokens_mask"]
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return encoded["input_ids"][:first], encoded["input_ids"][last:]


def _ids(head: HeadModel, text: str) -> list[int]:
    with head.lock:
        found: list[int] = head.reader(text, add_special_tokens=False)["input_ids"]
    return found


def word_of(tokenizer: Any, token: int) -> str:
    """A token as people write it: without the marks for spaces and for inner pieces."""
    decoded = str(tokenizer.decode([token])).strip()
    return decoded.removeprefix("##") or str(tokenizer.convert_ids_to_tokens(token))


def seen_ids(head: HeadModel, text: str) -> list[int]:
    """The tokens of a text with its gaps as the model's masks, control tokens included."""
    with head.lock:
        found: list[int] = head.reader(_GAP.sub(head.reader.mask_token, text))["input_ids"]
    return found
