"""From words with times to stretches that people read as one: sentences, and parts of those that go on for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm.speech.segments import Word

LONG_S = 8.0
"""A sentence that takes longer is divided."""
SHORT_S = 1.5
"""No part is made shorter than this, so that it can be read."""
BREATH_S = 0.1
"""A full stop without a pause as long as this is no end of a sentence: Mr. Darcy."""
PAUSE_S = 1.0
"""So long a pause is an end without a full stop too; many languages' words come without any."""
_ENDS = tuple(".!?。！？…")
_COMMAS = tuple(",;:，；：、")
_QUOTES = "\"'”’»」』）) "


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """The words in order, in stretches. None is empty."""
    begin = 0
    for at in range(1, len(words)):
        pause = words[at].start_s - words[at - 1].end_s
        if pause >= PAUSE_S or (pause >= BREATH_S and _closes(words[at - 1], _ENDS)):
            yield from _divided(words[begin:at])
            begin = at
    if words:
        yield from _divided(words[begin:])


def _divided(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Halves, and halves of those, until none is long: at an end, else at a comma, else at the longest pause."""
    places = [
        at
        for at in range(1, len(words))
        if words[at - 1].end_s - words[0].start_s >= SHORT_S and words[-1].end_s - words[at].start_s >= SHORT_S
    ]
    if not places or words[-1].end_s - words[0].start_s <= LONG_S:
        yield list(words)
        return
    middle = (words[0].start_s + words[-1].end_s) / 2

    def worth(at: int) -> tuple[bool, bool, float, float]:
        before = words[at - 1]
        pause = round(words[at].start_s - before.end_s, 1)
        return _closes(before, _ENDS), _closes(before, _COMMAS), pause, -abs(before.end_s - middle)

    at = max(places, key=worth)
    yield from _divided(words[:at])
    yield from _divided(words[at:])


def _closes(word: Word, marks: tuple[str, ...]) -> bool:
    return word.text.rstrip(_QUOTES).endswith(marks)
