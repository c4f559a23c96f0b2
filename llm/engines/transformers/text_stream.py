"""Text of an answer as it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class TextStream:
    """Text of a growing answer, token by token, each decoded with a few before it and never the whole.

    A character whose bytes are spread over tokens appears with its last token. Bytes that never become a
    character appear as U+FFFD.
    """

    # More tokens than any character has bytes: what is still incomplete then is no character.
    MAX_PENDING = 8

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._shown = 0
        """How many tokens of the window have been shown."""

    def push(self, token_id: int) -> str:
        self._window.append(token_id)
        before = self._decode(self._window[: self._shown])
        now = self._decode(self._window)
        pending = len(self._window) - self._shown
        if now.endswith("�") and pending < self.MAX_PENDING:
            return ""
        # What was shown stays as context, since a decoder may treat the first token of a text differently.
        self._window, self._shown = self._window[self._shown :], pending
        return now[len(before) :]

    def flush(self) -> str:
        """The rest at the end of the answer."""
        before = self._decode(self._window[: self._shown])
        rest = self._decode(self._window)[len(before) :]
        self._window, self._shown = [], 0
        return rest
