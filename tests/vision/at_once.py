"""Several questions to one model at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
PATIENCE_S = 60


def at_once(answer: Callable[[Asked], Answer], asked: Sequence[Asked]) -> list[Answer]:
    """Each question's answer, asked by a thread of its own. KeyError: one got no answer in time."""
    together: dict[int, Answer] = {}
    threads = [
        threading.Thread(target=lambda place=place: together.__setitem__(place, answer(asked[place])))
        for place in range(len(asked))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return [together[place] for place in range(len(asked))]
