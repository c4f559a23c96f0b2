"""Text in sentences that give the text back when they are joined: nothing between them is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# After a full stop in Chinese or Japanese, whatever follows; in other languages only where white space follows.
_END = re.compile(
    r"(?:[。！？!?；…]+[”’」』）)\"']*|(?<![A-Z])(?<!\b[A-Z][a-z])(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)(?<!\bNo)"
    r"\.+[”’\"')\]]*(?=\s|$))"
)
_SPACE = re.compile(r"\s*")
_BREAK = re.compile(r"[ \t]*(?:\r?\n[ \t]*)+")
_COMMAS = ",，、;；:："


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text without the white space around it, and what stands between it and the next."""

    text: str
    after: str


def sentences(text: str) -> list[Stretch]:
    """A text's sentences; lines end sentences too. `before + "".join(s.text + s.after)` is the text.

    White space at the very beginning comes as a stretch without text.
    """
    found: list[Stretch] = []
    lead = _SPACE.match(text)
    at = lead.end() if lead else 0
    if at:
        found.append(Stretch("", text[:at]))
    while at < len(text):
        line = _BREAK.search(text, at)
        line_end = line.start() if line else len(text)
        end = _END.search(text, at, line_end)
        stop = min(end.end(), line_end) if end else line_end
        space = _SPACE.match(text, stop)
        after = space.end() if space else stop
        found.append(Stretch(text[at:stop].rstrip(), text[at + len(text[at:stop].rstrip()) : after]))
        at = after
    return found


def fitting(text: str, fits: Callable[[str], bool]) -> Iterator[Stretch]:
    """Sentences, and those that do not fit in halves: at a comma near the middle, else at a space, else anywhere."""
    for sentence in sentences(text):
        yield from _halved(sentence, fits)


def _halved(stretch: Stretch, fits: Callable[[str], bool]) -> Iterator[Stretch]:
    text = stretch.text
    if len(text) < 2 or fits(text):
        yield stretch
        return
    middle = len(text) // 2
    places = range(len(text) // 4 or 1, len(text) - len(text) // 4)

    def worth(at: int) -> tuple[int, int]:
        kind = 2 if text[at - 1] in _COMMAS else 1 if text[at - 1].isspace() else 0
        return kind, -abs(at - middle)

    at = max(places, key=worth, default=middle)
    left = text[:at].rstrip()
    yield from _halved(Stretch(left, text[len(left) : at]), fits)
    yield from _halved(Stretch(text[at:], stretch.after), fits)


def parts(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text in as few parts as fit, cut at the ends of sentences."""
    found: list[str] = []
    held = ""
    for stretch in fitting(text, fits):
        if held.strip() and not fits(held + stretch.text):
            found.append(held.strip())
            held = ""
        held += stretch.text + stretch.after
    return [*found, held.strip()] if held.strip() else found
