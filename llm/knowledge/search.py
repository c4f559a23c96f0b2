"""Search in a base: by words and by meaning, the two lists fused by reciprocal ranks."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from llm.cancel import Cancel
from llm.errors import ModelError
from llm.knowledge import vectors
from llm.knowledge.library import Library
from llm.knowledge.values import Passage
from llm.knowledge.words import asked_words, words_of

MOST = 50
"""Of each list."""
_LOOKED_AT = 10
"""Of the list of words, to say how much it is worth."""
_K = 20
"""Of reciprocal rank fusion (Cormack et al., 2009): how little the first places differ. Measured on XQuAD, as is
`_weight_of_words`: with 60 and equal lists, 58 instead of 70 % of English questions find the Chinese passage first.
"""
Reason: TypeAlias = Literal["repeat", "budget", "off", "weak"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    score: of the fusion, where the list of meaning counts 1. by_words, by_meaning: its place in each list from 1, None
    where it is not in it. similarity: cosine. above: by how many standard deviations it is nearer to the question than
    the base's passages are. words: those of the question that it holds. also: places of the same text in other
    documents.
    """

    passage: Passage
    score: float
    by_words: int | None
    by_meaning: int | None
    similarity: float | None
    above: float | None
    words: tuple[str, ...]
    also: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, the best first, and how.

    questions: as searched. weights: the question's words and how telling each is. coverage: the share of that weight
    which the best passage holds. left_out: passages that are not among the hits, and why. words_weight: what the list
    of words counted for each question; that of meaning counts 1.
    """

    questions: tuple[str, ...]
    hits: tuple[Hit, ...]
    weights: dict[str, float]
    coverage: float
    by_meaning: bool
    left_out: tuple[tuple[Passage, Reason], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    words_weight: dict[str, float] = field(default_factory=dict)


def search(
    library: Library,
    base_id: str,
    question: str | Sequence[str],
    most: int = 10,
    off: Collection[int] = (),
    cancel: Cancel | None = None,
) -> Found:
    """The passages of a base that fit a question, or several forms of it.

    Args:
        off: ids of passages that are not wanted.

    Raises:
        NotFound: there is no such base for this person.
    """
    questions = (question,) if isinstance(question, str) else tuple(dict.fromkeys(question))
    began = time.perf_counter()
    library.base(base_id)
    asked = list(dict.fromkeys(word for one in questions for word in asked_words(one)))
    weights = library.weights(base_id, asked)
    places: dict[int, dict[str, int]] = {}
    fused: dict[int, float] = {}
    similarity: dict[int, float] = {}
    words_weight: dict[str, float] = {}
    mean, spread = 0.0, 1.0

    def take(ids: Sequence[int], list_name: str, weight: float) -> None:
        for place, row_id in enumerate(ids, start=1):
            known = places.setdefault(row_id, {})
            known[list_name] = min(place, known.get(list_name, place))
            fused[row_id] = fused.get(row_id, 0.0) + weight / (_K + place)

    for one in questions:
        ranked = [row_id for row_id, _ in library.by_words(base_id, asked_words(one), MOST)]
        held_by = (set(words_of(passage.with_context)) for passage in library.passages(ranked[:_LOOKED_AT]).values())
        words_weight[one] = _weight_of_words(_covered(asked_words(one), held_by, weights))
        take(ranked, "words", words_weight[one])
    worded = time.perf_counter()
    matrix = vectors.matrix(library, base_id)
    base = library.base(base_id)
    if matrix is not None:
        try:
            for one in questions:
                asked_vector = vectors.embedded_question(base.indexed_by or base.embedder, one, cancel)
                near = matrix.vectors @ asked_vector
                mean, spread = vectors.background(base.indexed_by or base.embedder, near, asked_vector)
                best = np.argsort(-near)[:MOST]
                similarity |= {int(matrix.ids[at]): float(near[at]) for at in best}
                take([int(matrix.ids[at]) for at in best], "meaning", 1.0)
        except ModelError:  # the embedder is gone: words answer
            matrix = None
    passages = library.passages(fused)
    hits: list[Hit] = []
    left_out: list[tuple[Passage, Reason]] = []
    by_hash: dict[str, int] = {}
    for row_id in sorted(fused, key=lambda one: -fused[one]):
        passage = passages.get(row_id)
        if passage is None:
            continue
        if row_id in off:
            left_out.append((passage, "off"))
        elif passage.hash in by_hash:
            at = by_hash[passage.hash]
            hits[at] = _with_place(hits[at], passage)
            left_out.append((passage, "repeat"))
        elif len(hits) < most:
            by_hash[passage.hash] = len(hits)
            held = set(words_of(passage.with_context))
            near_by = similarity.get(row_id)
            hits.append(
                Hit(
                    passage,
                    fused[row_id],
                    places[row_id].get("words"),
                    places[row_id].get("meaning"),
                    near_by,
                    None if near_by is None else (near_by - mean) / spread,
                    tuple(word for word in asked if word in held),
                )
            )
    held_words = [set(hit.words) for hit in hits]
    coverage = max((_covered(asked_words(one), held_words, weights) for one in questions), default=0.0)
    seconds = {"words": worded - began, "meaning": time.perf_counter() - worded}
    return Found(questions, tuple(hits), weights, coverage, matrix is not None, tuple(left_out), seconds, words_weight)


def _covered(words: Sequence[str], passages: Iterable[set[str]], weights: dict[str, float]) -> float:
    """The largest share of a question's words, by weight, that one of the passages holds."""
    total = sum(weights[word] for word in words)
    return (
        max((sum(weights[w] for w in words if w in held) for held in passages), default=0.0) / total if total else 0.0
    )


def _weight_of_words(coverage: float) -> float:
    """What the list of words counts beside that of meaning: as much where a passage holds half of the question's words,
    four times where it holds all, nothing where the documents are in another language."""
    return 4 * coverage**2


def _with_place(hit: Hit, passage: Passage) -> Hit:
    return replace(hit, also=(*hit.also, passage))
