"""Which sentences of an answer stand in the passages that it was given.

A sentence is compared with each passage's sentences: the share of its words, weighted by how telling they are, that
the best of them holds. Every number and code must occur, and a negation must be on both sides. What says the same in
other words, or in another language, is found by vectors where an embedder is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from llm.knowledge.words import plain, words_of

Support: TypeAlias = Literal["supported", "partly", "not_found", "none"]
Near: TypeAlias = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[float]]]
"""Cosines of texts with others."""
_ENDS = re.compile(r"(?<=[。！？!?；])[”’」』）)\"']*\s*|(?<=\.)(?=\s)\s+|\n+")
_CITED = re.compile(r"\s*\[(\d{1,3}(?:\s*[,，、]\s*\d{1,3})*)\]")
_FACTS = re.compile(r"[a-z]*\d[\w./:-]*", re.ASCII)
_NOT = re.compile(r"不|没|无(?!线|论)|未|勿|禁止|\b(?:no|not|never|without|cannot|none|nor)\b|n't\b")
_CHINESE_DIGITS = str.maketrans("〇零一二三四五六七八九两", "001234567892")
_CHINESE_NUMBER = re.compile(r"[〇零一二三四五六七八九十百两]+(?=[年月日天个次倍岁米元块台小人条项页章层楼周分秒度%])")
_HELD = 0.7
_PARTLY = 0.45
_SAME_MEANING = 0.9
"""Cosine of sentences that say the same; e5's unrelated ones lie at 0.75."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer.

    passages: the numbers of those that it rests on, the best first. lit: (passage, from, to), the characters of its
    best sentence there. missing: numbers and codes that do not occur in them.
    """

    text: str
    support: Support
    passages: tuple[int, ...] = ()
    lit: tuple[tuple[int, int, int], ...] = ()
    missing: tuple[str, ...] = ()


def sentences_of(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text stand; joined they are the text."""
    places = [0, *(match.end() for match in _ENDS.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(places) if end > start]


def without_wrong_citations(answer: str, known: int) -> str:
    """An answer without citations of passages that were not given."""

    def keep(match: re.Match[str]) -> str:
        numbers = [int(one) for one in re.findall(r"\d+", match[1])]
        right = [number for number in numbers if 1 <= number <= known]
        return match[0] if right == numbers else f" [{', '.join(map(str, right))}]" if right else ""

    return _CITED.sub(keep, answer)


def facts_in(text: str) -> set[str]:
    """Numbers, dates and codes of a text in one form."""
    folded = plain(text)
    found = {fact.rstrip(".:/-") for fact in _FACTS.findall(folded)}
    return found | {_arabic(match[0]) for match in _CHINESE_NUMBER.finditer(folded)}


def _arabic(number: str) -> str:
    """A small Chinese number in digits: 十二 is 12, 二〇二四 is 2024."""
    if not set(number) & set("十百"):
        return number.translate(_CHINESE_DIGITS)
    total, digit = 0, 0
    for character in number:
        if character in "十百":
            total += (digit or 1) * (10 if character == "十" else 100)
            digit = 0
        else:
            digit = int(character.translate(_CHINESE_DIGITS))
    return str(total + digit)


def check(
    answer: str, passages: Sequence[str], weights: Mapping[str, float] | None = None, near: Near | None = None
) -> list[Sentence]:
    """The sentences of an answer, each with what supports it.

    Args:
        passages: as they were numbered in the prompt, from 1.
        weights: how telling words are; unknown ones count 1.
        near: compares meanings; without it only words do.
    """
    known = weights or {}
    stretches = [(number, place, text[slice(*place)]) for number, text in enumerate(passages, 1)
                 for place in sentences_of(text)]  # fmt: skip
    texts = [stretch for _, _, stretch in stretches]
    written = [answer[start:end] for start, end in sentences_of(answer)]
    bare = [_CITED.sub("", one).strip() for one in written]
    held = [set(words_of(text)) for text in texts]
    shares = [[_share(_telling(one), there, known) for there in held] for one in bare]
    if near is not None and texts:
        _by_meaning(bare, shares, texts, near)
    found = []
    for one, plainly, row in zip(written, bare, shares, strict=True):
        shown = _CITED.sub("", one)
        if len(words_of(plainly)) < 2 or plainly.endswith(("?", "？", ":", "：")):
            found.append(Sentence(shown, "none"))
            continue
        cited = {int(number) for match in _CITED.finditer(one) for number in re.findall(r"\d+", match[1])}
        found.append(_judged(shown, plainly, cited, row, stretches, passages))
    return found


def _telling(text: str) -> set[str]:
    """The words of a sentence that are compared; numbers are by themselves, and a single character tells nothing."""
    words = set(words_of(text))
    return {word for word in words if len(word) > 1 and not word[0].isdigit()} or words


def _by_meaning(bare: Sequence[str], shares: list[list[float]], texts: Sequence[str], near: Near) -> None:
    """Raises the shares of sentences that no words support and that mean the same as one of the texts."""
    unclear = [at for at, row in enumerate(shares) if max(row) < _HELD]
    if not unclear:
        return
    for at, cosines in zip(unclear, near([bare[at] for at in unclear], texts), strict=True):
        pairs = zip(shares[at], cosines, strict=True)
        shares[at] = [max(share, _HELD if cosine >= _SAME_MEANING else 0.0) for share, cosine in pairs]


def _judged(
    shown: str,
    bare: str,
    cited: set[int],
    shares: Sequence[float],
    stretches: Sequence[tuple[int, tuple[int, int], str]],
    passages: Sequence[str],
) -> Sentence:
    ranked = sorted(
        range(len(shares)), key=lambda at: (-round(shares[at], 2), stretches[at][0] not in cited, at)
    )  # fmt: skip
    if not ranked or shares[ranked[0]] < _PARTLY:
        return Sentence(shown, "not_found")
    best = [at for at in ranked if shares[at] >= max(_PARTLY, 0.85 * shares[ranked[0]])][:3]
    numbers = tuple(dict.fromkeys(stretches[at][0] for at in best))
    lit = tuple((stretches[at][0], *stretches[at][1]) for at in best)
    held = set().union(*(facts_in(passages[number - 1]) for number in numbers))
    missing = tuple(sorted(fact for fact in facts_in(bare) if not _has(fact, held)))
    turned = bool(_NOT.search(plain(bare))) != bool(_NOT.search(plain(stretches[best[0]][2])))
    whole = shares[best[0]] >= _HELD and not missing and not turned
    return Sentence(shown, "supported" if whole else "partly", numbers, lit, missing)


def _has(fact: str, held: set[str]) -> bool:
    """Whether a number or code stands in the passage: as itself, or as the number in front of a unit."""
    if fact in held:
        return True
    number = re.match(r"\d+(?:\.\d+)?", fact)
    return bool(number) and any(re.match(rf"{re.escape(number[0])}(?![\d.]*\d)", one) for one in held)  # type: ignore


def _share(words: set[str], held: set[str], weights: Mapping[str, float]) -> float:
    total = sum(weights.get(word, 1.0) or 0.1 for word in words)
    return sum(weights.get(word, 1.0) or 0.1 for word in words & held) / total if total else 0.0
