"""What is wrong with rows before anybody trains on them, each by its number, and what can be put right at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from llm.finetune.data import Row, normal
from llm.messages import Message
from llm.redaction import without_secrets

Code: TypeAlias = Literal[
    "empty", "duplicate", "contradiction", "leak", "control", "garbled", "cell", "markup", "private"
]
CURABLE: frozenset[Code] = frozenset({"empty", "duplicate", "leak", "control"})

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e]|_x000[dD]_")
# What is left of text that was read in the wrong encoding: replacement characters, and UTF-8 read as GBK or Latin-1.
_GARBLED = re.compile(r"\ufffd|锟斤拷|烫烫烫|屯屯屯|Ã[\x80-\xbf]|â€|ï»¿|[æçèåä][\x80-\xbf\u2018-\u2022]")
# What spreadsheets write instead of a value: errors, columns too narrow, numbers cut to 1.2E+11, formulas as text.
_CELL = re.compile(
    r"#(?:REF|VALUE|DIV/0|NUM|NULL|SPILL|CALC)!|#N/A|#NAME\?|^#{4,}$|^-?\d\.\d+E\+\d+$|^=[A-Z]{2,}\(", re.MULTILINE
)
_MARKUP = re.compile(r"</?(?:br|p|div|span|font|td|tr|table)\b[^>]*>|&(?:nbsp|amp|lt|gt|quot);|&#\d+;", re.IGNORECASE)
_PHONE = re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*[A-Za-z]")
_IDENTITY = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")
_CARD = re.compile(r"(?<!\d)\d{4}(?:[ -]?\d{4}){3}(?:[ -]?\d{1,3})?(?!\d)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble, and the numbers of the rows that have it."""

    code: Code
    rows: tuple[int, ...]


def examined(rows: Sequence[Row], held_out: Collection[int] = ()) -> list[Finding]:
    """Everything that is found, the worst first. held_out: places of the rows that are never trained."""
    found: dict[Code, list[int]] = {}

    def note(code: Code, places: Collection[int]) -> None:
        if places:
            found[code] = sorted({*found.get(code, ()), *(rows[place].number or place + 1 for place in places)})

    held = set(held_out)
    note("empty", [place for place, row in enumerate(rows) if _is_empty(row)])
    note("contradiction", _contradicting(rows))
    note("leak", _leaking(rows, held))
    note("duplicate", _repeated(rows))
    for code, is_so in _WORDS.items():
        note(code, [place for place, row in enumerate(rows) if any(is_so(text) for text in _texts(row))])
    return [Finding(code, tuple(numbers)) for code, numbers in found.items()]


def cured(rows: Sequence[Row], held_out: Collection[int] = ()) -> tuple[list[Row], frozenset[int]]:
    """Rows without empty and repeated ones and control characters; held-out rows that are trained, too, go.

    Returns the rows and the places of those held out among them.
    """
    cleaned = [_without_control(row) for row in rows]
    held = set(held_out)
    repeated = set(_repeated(cleaned)) - held  # of two, the held-out one is a leak and goes as such
    gone = {place for place, row in enumerate(cleaned) if _is_empty(row)} | repeated | set(_leaking(cleaned, held))
    kept = [place for place in range(len(cleaned)) if place not in gone]
    return [cleaned[place] for place in kept], frozenset(n for n, place in enumerate(kept) if place in held)


def _is_empty(row: Row) -> bool:
    return not row.response.strip() or (bool(row.messages) and not row.prompt.strip())


def _question(row: Row) -> str:
    """All before the last answer, as it is compared; of a text the text."""
    return "\n".join(f"{m.role}:{normal(m.text)}" for m in row.messages[:-1]) if row.messages else normal(row.text)


def _repeated(rows: Sequence[Row]) -> list[int]:
    """Places of rows that were there before, word for word."""
    seen: set[tuple[str, str, str]] = set()
    places = []
    for place, row in enumerate(rows):
        key = (_question(row), normal(row.response), row.rejected)
        if key in seen:
            places.append(place)
        seen.add(key)
    return places


def _contradicting(rows: Sequence[Row]) -> list[int]:
    """Places of rows that ask the same and answer otherwise."""
    answers: dict[str, set[str]] = {}
    for row in rows:
        if row.messages and not row.rejected:
            answers.setdefault(_question(row), set()).add(normal(row.response))
    several = {question for question, given in answers.items() if len(given) > 1}
    return [n for n, row in enumerate(rows) if row.messages and not row.rejected and _question(row) in several]


def _leaking(rows: Sequence[Row], held: set[int]) -> list[int]:
    """Places of held-out rows whose question is trained: what they score says nothing."""
    trained = {_question(row) for place, row in enumerate(rows) if place not in held}
    return [place for place in held if place < len(rows) and _question(rows[place]) in trained]


def _texts(row: Row) -> list[str]:
    return [*(message.text for message in row.messages), row.text, row.rejected]


def _is_private(text: str) -> bool:
    """Phone numbers, addresses, identity and card numbers whose check digits are right, and keys."""
    cards = (re.sub(r"\D", "", found) for found in _CARD.findall(text))
    return bool(
        _PHONE.search(text)
        or _MAIL.search(text)
        or any(map(_is_identity, _IDENTITY.findall(text)))
        or any(map(_is_card, cards))
        or without_secrets(text) != text
    )


def _is_identity(number: str) -> bool:
    """GB 11643: the last digit follows from the others."""
    weighted = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[weighted % 11] == number[17].upper()


def _is_card(number: str) -> bool:
    """Luhn's check of payment cards; one of a single digit is a filler."""
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(number))]
    return len(set(number)) > 1 and sum(n // 10 + n % 10 for n in doubled) % 10 == 0


_WORDS: dict[Code, Callable[[str], object]] = {
    "cell": _CELL.search,
    "garbled": _GARBLED.search,
    "control": _CONTROL.search,
    "markup": _MARKUP.search,
    "private": _is_private,
}


def _without_control(row: Row) -> Row:
    def plain(text: str) -> str:
        return _CONTROL.sub("", text)

    messages = tuple(
        m if not _CONTROL.search(m.text) else Message.of({"role": m.role, "content": plain(m.text)})
        for m in row.messages
    )
    return replace(row, messages=messages, text=plain(row.text), rejected=plain(row.rejected))
