"""Changes that a person makes to a transcript: text, times, merging, splitting. Pure: segments in, segments out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import NamedTuple

from llm.speech.segments import Segment, Word

SHORTEST_S = 0.05
_WIDE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f"  # kana and Chinese characters
_UNIT = re.compile(rf"\s*(?:[{_WIDE}][、。，！？：；）」』】…]*|[^\s{_WIDE}]+)")
_SPACELESS = re.compile(rf"[{_WIDE}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # and Thai, Lao, Burmese, Khmer


def with_text(segment: Segment, text: str) -> Segment:
    """The segment with other words. Words that stayed keep their times; new ones get theirs from their neighbours."""
    text = " ".join(text.split())
    if text == segment.text:
        return segment
    return replace(segment, text=text, words=_retimed(segment, text), marks=())


def with_times(segments: Sequence[Segment], index: int, start_s: float, end_s: float) -> list[Segment]:
    """A segment's times changed, its words stretched along; neighbours give way so that nothing overlaps.

    Raises:
        ValueError: the end doesn't come after the start.
    """
    if not 0 <= start_s <= end_s - SHORTEST_S:
        raise ValueError(f"a segment cannot last from {start_s} to {end_s} s")
    start_s = max(start_s, index * SHORTEST_S)  # those before it need some time, too
    end_s = max(end_s, start_s + SHORTEST_S)
    changed = list(segments)
    changed[index] = _stretched(segments[index], start_s, end_s)
    for at in range(index - 1, -1, -1):
        if changed[at].end_s <= changed[at + 1].start_s:
            break
        end = changed[at + 1].start_s
        changed[at] = _stretched(changed[at], min(changed[at].start_s, max(0.0, end - SHORTEST_S)), end)
    for at in range(index + 1, len(changed)):
        if changed[at].start_s >= changed[at - 1].end_s:
            break
        start = changed[at - 1].end_s
        changed[at] = _stretched(changed[at], start, max(changed[at].end_s, start + SHORTEST_S))
    return changed


def merged(segments: Sequence[Segment], first: int, last: int) -> list[Segment]:
    """Segments `first` to `last` as one. Marks of any stay on it; its figures are the least favourable."""
    group = segments[first : last + 1]
    if len(group) < 2:
        return list(segments)
    text, words = group[0].text, list(group[0].words)
    for segment in group[1:]:
        space = "" if _joined_without_space(text, segment.text) else " "
        if segment.words:
            words.append(replace(segment.words[0], text=space + segment.words[0].text))
            words.extend(segment.words[1:])
        text += space + segment.text
    one = replace(
        group[0],
        text=text,
        words=tuple(words) if all(segment.words for segment in group) else (),
        start_s=group[0].start_s,
        end_s=max(segment.end_s for segment in group),
        avg_logprob=min(segment.avg_logprob for segment in group),
        no_speech_prob=max(segment.no_speech_prob for segment in group),
        compression_ratio=max(segment.compression_ratio for segment in group),
        marks=tuple(dict.fromkeys(mark for segment in group for mark in segment.marks)),
    )
    return [*segments[:first], one, *segments[last + 1 :]]


def split(segments: Sequence[Segment], index: int, offset: int) -> list[Segment]:
    """A segment divided before the character at `offset`; unchanged where one side would be empty.

    The time of the cut comes from the words, else from the share of the characters.
    """
    segment = segments[index]
    left, right = segment.text[:offset].rstrip(), segment.text[offset:].lstrip()
    if not left or not right:
        return list(segments)
    words = segment.words or (Word(segment.text, segment.start_s, segment.end_s),)
    before, after = _cut(words, offset)
    least = min(0.01, (segment.end_s - segment.start_s) / 4)
    cut = min(max(before[-1].end_s, segment.start_s + least), segment.end_s - least)
    one = replace(segment, text=left, end_s=cut, words=())
    two = replace(segment, text=right, start_s=max(cut, min(after[0].start_s, segment.end_s - least)), words=())
    if segment.words:
        one = replace(one, words=_within(before, one))
        two = replace(two, words=_within(after, two))
    return [*segments[:index], one, two, *segments[index + 1 :]]


def _cut(words: Sequence[Word], offset: int) -> tuple[list[Word], list[Word]]:
    """Words before and after a character; the one that it lies in is divided by its letters."""
    before: list[Word] = []
    after: list[Word] = []
    at = 0
    for word in words:
        place = min(max(offset - at, 0), len(word.text))
        at += len(word.text)
        middle = _letters(word)[place].start_s if place < len(word.text) else word.end_s
        if word.text[:place].strip():
            before.append(replace(word, text=word.text[:place], end_s=middle))
        if word.text[place:].strip():
            after.append(replace(word, text=word.text[place:], start_s=middle))
    before[-1] = replace(before[-1], text=before[-1].text.rstrip())
    after[0] = replace(after[0], text=after[0].text.lstrip())
    return before, after


def _within(words: Sequence[Word], segment: Segment) -> tuple[Word, ...]:
    low, high = segment.start_s, segment.end_s
    return tuple(
        replace(word, start_s=min(max(word.start_s, low), high), end_s=min(max(word.end_s, low), high))
        for word in words
    )


def removed(segments: Sequence[Segment], first: int, last: int) -> list[Segment]:
    return [*segments[:first], *segments[last + 1 :]]


def replaced(segments: Sequence[Segment], start_s: float, end_s: float, new: Sequence[Segment]) -> list[Segment]:
    """Another try's segments in place of those whose middle lies in the passage."""
    before, after = [], []
    for segment in segments:
        middle = (segment.start_s + segment.end_s) / 2
        if middle < start_s:
            before.append(segment)
        elif middle >= end_s:
            after.append(segment)
    return [*before, *new, *after]


def _joined_without_space(left: str, right: str) -> bool:
    return bool(_SPACELESS.match(left[-1:]) or _SPACELESS.match(right[:1])) or left[-1:] in "。，！？、；："


def _stretched(segment: Segment, start_s: float, end_s: float) -> Segment:
    old = segment.end_s - segment.start_s
    scale = (end_s - start_s) / old if old > 0 else 1.0

    def moved(time_s: float) -> float:
        return min(max(start_s + (time_s - segment.start_s) * scale, start_s), end_s)

    words = tuple(replace(word, start_s=moved(word.start_s), end_s=moved(word.end_s)) for word in segment.words)
    return replace(segment, start_s=start_s, end_s=end_s, words=words)


def units(text: str) -> list[str]:
    """A text in words with the space before them; scripts without spaces go character by character."""
    return [match.group() for match in _UNIT.finditer(text)]


def _retimed(segment: Segment, text: str) -> tuple[Word, ...]:
    """Words of a new text, timed by the characters that it shares with the old words."""
    if not segment.words:
        return ()
    letters = [letter for word in segment.words for letter in _letters(word)]
    before = "".join(word.text for word in segment.words)
    source: list[_Letter | None] = [None] * len(text)
    for block in SequenceMatcher(None, before, text, autojunk=False).get_matching_blocks():
        for place in range(block.size):
            if not text[block.b + place].isspace():
                source[block.b + place] = letters[block.a + place]
    words: list[Word] = []
    at, clock = 0, segment.start_s
    for part in units(text):
        known = [letter for letter in source[at : at + len(part)] if letter]
        at += len(part)
        if known:
            start, end = max(known[0].start_s, clock), known[-1].end_s
            probability = known[0].word.probability if part.strip() == known[0].word.text.strip() else 1.0
        else:  # typed by a person: up to half of the time until the next word that was heard
            following = next((letter.start_s for letter in source[at:] if letter), segment.end_s)
            start, end, probability = clock, clock + (following - clock) / 2, 1.0
        end = min(max(end, start), segment.end_s)
        words.append(Word(part, min(start, end), end, probability))
        clock = end
    return tuple(words)


class _Letter(NamedTuple):
    start_s: float
    end_s: float
    word: Word


def _letters(word: Word) -> list[_Letter]:
    """A word's time spread evenly over its characters; the space before it takes none."""
    spaces = len(word.text) - len(word.text.lstrip())
    step = (word.end_s - word.start_s) / max(len(word.text) - spaces, 1)
    starts = [word.start_s + max(place - spaces, 0) * step for place in range(len(word.text))]
    return [_Letter(start, end, word) for start, end in zip(starts, [*starts[1:], word.end_s], strict=True)]
