"""What has times: subtitles and recordings. A page is a stretch of about a minute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from llm.documents.document import Block, Page
from llm.documents.source import Source

Cue: TypeAlias = tuple[float, float, str]
"""Start and end in seconds, and what is said."""
PAGE_S = 60.0
_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_CUE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_LYRIC = re.compile(r"\[(\d{1,3}):(\d{2}(?:\.\d{1,3})?)\]")
_DIALOGUE = re.compile(r"Dialogue:[^,]*,(\d+):(\d{2}):(\d{2}\.\d+),(\d+):(\d{2}):(\d{2}\.\d+),(?:[^,]*,){6}(.*)")
_TAG = re.compile(r"<[^>]{1,80}>|\{\\[^}]{1,200}\}")


def subtitles(source: Source) -> Iterator[Page]:
    """SRT, WebVTT, LRC and ASS files."""
    text = source.text()
    yield from timed_pages([*_cues(text)] or [*_lyrics(text)] or [*_dialogues(text)])


def timed_pages(cues: Iterable[Cue]) -> Iterator[Page]:
    """Pages of about a minute each, labelled by the time at which they begin."""
    number, held = 1, list[Cue]()
    for cue in cues:
        if held and cue[0] - held[0][0] >= PAGE_S:
            yield _page(number, held)
            number, held = number + 1, []
        if cue[2].strip():
            held.append(cue)
    if held:
        yield _page(number, held)


def _page(number: int, cues: list[Cue]) -> Page:
    begin, end = cues[0][0], max(end for _, end, _ in cues)
    return Page(number, clock(begin), tuple(Block(text.strip()) for _, _, text in cues), begin, end)


def clock(seconds: float) -> str:
    """3725.0 as 1:02:05."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _cues(text: str) -> Iterator[Cue]:
    for part in re.split(r"\n\s*\n", text):
        lines = part.split("\n")
        for at, line in enumerate(lines):
            if match := _CUE.match(line):
                words = " ".join(_TAG.sub("", line).strip() for line in lines[at + 1 :])
                yield _seconds(*match.groups()[:4]), _seconds(*match.groups()[4:]), words
                break


def _seconds(hours: str | None, minutes: str, seconds: str, part: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{part}")


def _lyrics(text: str) -> Iterator[Cue]:
    lines = []
    for line in text.split("\n"):
        words = _LYRIC.sub("", line).strip()
        lines += [(int(minutes) * 60 + float(seconds), words) for minutes, seconds in _LYRIC.findall(line)]
    for start, words in sorted(lines):
        yield start, start, words


def _dialogues(text: str) -> Iterator[Cue]:
    for match in _DIALOGUE.finditer(text):
        h1, m1, s1, h2, m2, s2, words = match.groups()
        start, end = int(h1) * 3600 + int(m1) * 60 + float(s1), int(h2) * 3600 + int(m2) * 60 + float(s2)
        yield start, end, _TAG.sub("", words).replace("\\N", " ").strip()
