"""Segments as subtitle cues: at most two lines of 42 columns, in order, never overlapping.

42 is the line length of the common guidelines for Latin scripts (BBC, Netflix). A Chinese, Japanese or Korean character
takes two columns of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llm.speech.editing import units
from llm.speech.segments import Segment

LINE_COLUMNS = 42
LINES = 2
_NOT_FIRST = set("、。，！？：；）」』】〉》”’…・ー!?,.:;)]}%")  # never at the start of a line (kinsoku)
_ENDS = set("。！？!?…；;.")
_PAUSES = set("，、,：:")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on screen from `start_ms` until before `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def in_order(segments: Iterable[Segment]) -> list[tuple[int, int, Segment]]:
    """Start and end in whole milliseconds with the segment: sorted, without overlaps, each at least 1 ms long.

    A segment without words is left out.
    """
    rows = sorted((s for s in segments if s.text.strip()), key=lambda s: (s.start_s, s.end_s))
    placed: list[tuple[int, int, Segment]] = []
    clock = 0
    for index, segment in enumerate(rows):
        start = max(round(segment.start_s * 1000), clock)
        end = max(round(segment.end_s * 1000), start + 1)
        if index + 1 < len(rows):
            end = max(min(end, round(rows[index + 1].start_s * 1000)), start + 1)
        placed.append((start, end, segment))
        clock = end
    return placed


def cues(segments: Iterable[Segment]) -> list[Cue]:
    """The segments' text in cues; what doesn't fit into one is divided at a sentence's end, a comma or a space."""
    made: list[Cue] = []
    clock = 0
    for placed_ms, end_ms, segment in in_order(segments):
        start_ms = max(placed_ms, clock)  # too many cues for too short a segment run over into the next
        parts = list(_parts(units(" ".join(segment.text.split()))))
        ends = _ends_ms(parts, start_ms, end_ms, segment)
        begin = start_ms
        for part, end in zip(parts, ends, strict=True):
            made.append(Cue(begin, end, tuple(_lines(part))))
            begin = clock = end
    return made


def columns(text: str) -> int:
    """How wide a text is; East Asian wide characters count two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _parts(words: Sequence[str]) -> Iterator[list[str]]:
    """Words in groups that fit into a cue each."""
    rest = [piece for word in words for piece in _pieces(word)]
    while rest:
        fits = _fitting(rest)
        if fits < len(rest):
            fits = _good_break(rest, fits)
        yield rest[:fits]
        rest = rest[fits:]


def _pieces(word: str) -> Iterator[str]:
    """A word longer than a line, cut hard: no language permits otherwise."""
    while columns(word.strip()) > LINE_COLUMNS:
        cut = next(i for i in range(len(word), 0, -1) if columns(word[:i].strip()) <= LINE_COLUMNS)
        yield word[:cut]
        word = word[cut:]
    yield word


def _fitting(words: Sequence[str]) -> int:
    """How many of the words fit into a cue."""
    line, width = 1, 0
    for index, word in enumerate(words):
        needed = columns(word if width else word.lstrip())
        if width + needed > LINE_COLUMNS:
            line, width = line + 1, columns(word.lstrip())
            if line > LINES:
                return index
        else:
            width += needed
    return len(words)


def _good_break(words: Sequence[str], fits: int) -> int:
    """Where to break among the words that fit: after a sentence or comma in their second half, else at the end."""
    for ends in (_ENDS, _PAUSES):
        for index in range(fits, fits // 2, -1):
            if words[index - 1][-1] in ends:
                return index
    while fits > 1 and words[fits].lstrip()[:1] in _NOT_FIRST:
        fits -= 1
    return fits


def _lines(words: Sequence[str]) -> list[str]:
    """One line where it fits, else two as even as can be."""
    text = "".join(words).strip()
    if columns(text) <= LINE_COLUMNS:
        return [text]
    best: tuple[float, list[str]] | None = None
    for index in range(1, len(words)):
        upper, lower = "".join(words[:index]).strip(), "".join(words[index:]).strip()
        if columns(upper) > LINE_COLUMNS or columns(lower) > LINE_COLUMNS:
            continue
        cost = abs(columns(upper) - columns(lower)) - 8 * (upper[-1] in _ENDS | _PAUSES) + 40 * (lower[0] in _NOT_FIRST)
        if best is None or cost < best[0]:
            best = (cost, [upper, lower])
    return best[1] if best else [text]


def _ends_ms(parts: Sequence[Sequence[str]], start_ms: int, end_ms: int, segment: Segment) -> list[int]:
    """When each part's cue ends: with the words' times where there are any, else by the share of its letters."""
    letters = [sum(len("".join(word.split())) for word in part) for part in parts]
    total = sum(letters) or 1
    ends, seen, last = [], 0, start_ms
    for index, count in enumerate(letters):
        seen += count
        wanted = end_ms if index == len(parts) - 1 else _time_of(segment, seen, total, start_ms, end_ms)
        last = min(max(wanted, last + 1), max(end_ms - (len(parts) - 1 - index), last + 1))
        ends.append(last)
    return ends


def _time_of(segment: Segment, seen: int, total: int, start_ms: int, end_ms: int) -> int:
    count = 0
    for word in segment.words:
        count += len("".join(word.text.split()))
        if count >= seen:
            return round(word.end_s * 1000)
    return start_ms + (end_ms - start_ms) * seen // total
