"""Noticing an answer that goes round and round: small models repeat a stretch of text until the limit ends them."""

from __future__ import annotations

LOOK_EVERY = 48
"""Characters between two looks."""
KEPT = 8192
"""Characters that are looked at: a stretch that repeats is at most a quarter of that."""
ANCHOR = 24
"""The last characters, whose place before tells the length of what repeats."""
LEAST_TIMES = 6
LEAST_LENGTH = 480
"""Characters that the repeats must make together: rules of dashes, refrains and rows of zeros are shorter."""
LEAST_LENGTH_CODE = 1600
"""Between code fences and in rows of a table, where the same line again and again may be meant."""


class RepetitionWatch:
    """Fed with an answer's text as it comes."""

    def __init__(self) -> None:
        self._text = ""
        self._unseen = 0
        self._fences = 0

    def feed(self, text: str) -> bool:
        """Whether the answer's end is the same stretch of text again and again."""
        self._fences += text.count("```")
        self._text = (self._text + text)[-KEPT:]
        self._unseen += len(text)
        if self._unseen < LOOK_EVERY:
            return False
        self._unseen = 0
        return self._repeats()

    def _repeats(self) -> bool:
        text = self._text
        before = text.rfind(text[-ANCHOR:], 0, len(text) - 1)
        if before < 0:
            return False
        period = len(text) - ANCHOR - before
        unit = text[-period:]
        if not unit.strip():
            return len(text) - len(text.rstrip()) >= LEAST_LENGTH
        meant = self._fences % 2 == 1 or "|" in unit or set(unit) <= set("-=_*#~. \n")
        times = max(LEAST_TIMES, -(-(LEAST_LENGTH_CODE if meant else LEAST_LENGTH) // period))
        return text.endswith(unit * times)
