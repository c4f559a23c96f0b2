"""Scores of answers against references, in the arithmetic of the published figures, so that they can be compared.

BLEU-4 over characters is what the tables of ChatGLM-6B, ChatGLM2-6B and LLaMA-Factory show, BLEU-4 over jieba's words
what ChatGLM3's scripts print (there from 0 to 1, here from 0 to 100). Both are means over rows of the sentence score
with NIST's smoothing (Chen and Cherry 2014, method 3). ROUGE is the F1 score over jieba's words, with each n-gram
counted once, as the package rouge-chinese reckons it.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from llm.config import config

REDRAWS = 1000
"""Samples of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one answer, or means over several; each from 0 to 100.

    exact: the answer is the reference, but for blanks at its ends.
    """

    bleu4: float = 0.0
    bleu4_words: float = 0.0
    rouge1: float = 0.0
    rouge2: float = 0.0
    rouge_l: float = 0.0
    exact: float = 0.0

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


SCORE_NAMES = tuple(field.name for field in fields(Scores))


def score(reference: str, answer: str) -> Scores:
    """An answer's scores; all 0 where answer or reference is empty."""
    reference, answer = reference.strip(), answer.strip()
    if not reference or not answer:
        return Scores()
    wanted, written = words(reference), words(answer)
    listed_wanted, listed_written = _listed(wanted), _listed(written)
    return Scores(
        bleu4=bleu4(reference, answer),
        bleu4_words=bleu4(wanted, written),
        rouge1=rouge_n(listed_wanted, listed_written, 1),
        rouge2=rouge_n(listed_wanted, listed_written, 2),
        rouge_l=rouge_l(listed_wanted, listed_written),
        exact=100.0 * (reference == answer),
    )


def mean(scores: Sequence[Scores]) -> Scores:
    """Means over rows; zeros without rows."""
    count = max(1, len(scores))
    return Scores(**{name: math.fsum(getattr(s, name) for s in scores) / count for name in SCORE_NAMES})


def interval(differences: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Between which values a mean lies in 95 of 100 redraws of the rows (percentile bootstrap)."""
    if not differences:
        return 0.0, 0.0
    draw = random.Random(seed)
    means = sorted(math.fsum(draw.choices(differences, k=len(differences))) for _ in range(REDRAWS))
    return means[REDRAWS // 40] / len(differences), means[-1 - REDRAWS // 40] / len(differences)


def words(text: str) -> list[str]:
    """A text's words as jieba cuts them, blanks and marks among them."""
    return list(_jieba().cut(text))


def bleu4(reference: Sequence[str], answer: Sequence[str]) -> float:
    """Sentence BLEU with up to four tokens (a string's are its characters), from 0 to 100."""
    if not answer:
        return 0.0
    logs, missed = [], 0
    for size in range(1, 5):
        written, wanted = _ngrams(answer, size), _ngrams(reference, size)
        found = sum((written & wanted).values())
        possible = max(1, sum(written.values()))
        if size == 1 and not found:
            return 0.0
        if not found:
            missed += 1
        logs.append(math.log((found or 0.5**missed) / possible))
    brevity = min(0.0, 1 - len(reference) / len(answer))
    return 100 * math.exp(brevity + math.fsum(logs) / 4)


def rouge_n(reference: Sequence[str], answer: Sequence[str], size: int) -> float:
    """F1 of the n-grams that both have, each counted once."""
    wanted, written = set(_ngrams(reference, size)), set(_ngrams(answer, size))
    return _f1(len(wanted & written), len(wanted), len(written))


def rouge_l(reference: Sequence[str], answer: Sequence[str]) -> float:
    """F1 of the longest common subsequence."""
    return _f1(_common(reference, answer), len(reference), len(answer))


def _ngrams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def _f1(common: int, wanted: int, written: int) -> float:
    precision, recall = common / max(1, written), common / max(1, wanted)
    return 100 * 2 * precision * recall / (precision + recall + 1e-8)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit for each of `first` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << index
    ones = (1 << len(first)) - 1
    row = ones
    for token in second:
        match = row & places.get(token, 0)
        row = (row + match) | (row - match)
    return len(first) - (row & ones).bit_count()


def _listed(cut: Sequence[str]) -> list[str]:
    """Words as rouge-chinese counts them: it takes lines and sentences apart, and a blank one is an empty word."""
    lines = re.sub(r"([。！？?]|\.{6}) ", r"\1\n ", " ".join(cut)).rstrip().split("\n")
    return [word for line in lines if line for word in (line.split() or [""])]


@cache
def _jieba() -> Any:
    """jieba with its table in Hearth's own folder: by itself it would read one from the folder that all users share."""
    import jieba

    jieba.setLogLevel("WARNING")
    cutter = jieba.Tokenizer()
    folder = config().home / "finetune"
    folder.mkdir(parents=True, exist_ok=True)
    cutter.tmp_dir = str(folder)
    return cutter
