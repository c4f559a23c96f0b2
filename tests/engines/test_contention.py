"""Which server writes an answer while others keep the machine busy."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from llm.engines.llamacpp import contention
from llm.engines.llamacpp.contention import READ_AGAIN_TOKENS, Pace, Servers, Writing, is_contended


@pytest.mark.parametrize(
    ("others", "contended"),
    [
        ((1.0, 1.0, 1.0, 1.0), True),
        ((0.1, 0.2, 1.0, 1.0, 0.9, 0.8), True),
        ((1.0, 1.0, 1.0), False),  # too early to tell
        ((1.0, 1.0, 0.2, 1.0), False),  # a moment's work
        ((0.5, 0.5, 0.5, 0.5), False),  # a browser that draws
    ],
)
def test_a_core_must_be_held_all_the_while(others: tuple[float, ...], contended: bool) -> None:
    assert is_contended(others) == contended


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> deque[float]:
    watch = contention.Neighbours()
    monkeypatch.setattr(contention, "neighbours", lambda: watch)
    return watch.samples


def test_the_calm_server_is_made_once_and_when_it_is_needed(samples: deque[float]) -> None:
    made: list[str] = []
    servers = Servers("main", lambda: made.append("calm") or "calm")
    assert servers.now() == "main" and not made
    samples.extend([1.0] * 4)
    assert servers.now() == "calm" and servers.now() == "calm" and made == ["calm"]
    samples.extend([0.0] * 4)
    assert servers.now() == "main"


def test_without_memory_for_it_or_when_it_fails_the_main_one_goes_on(samples: deque[float]) -> None:
    samples.extend([1.0] * 4)
    assert Servers("main", lambda: "calm", lambda: False).now() == "main"

    def fails() -> Any:
        raise RuntimeError("failed to load model")

    servers = Servers("main", fails)
    assert servers.now() == "main" and servers.make_calm is None


def test_an_answer_is_slow_beside_the_best_second() -> None:
    pace = Pace()
    assert not pace.is_slow(0.0)  # nothing was written yet
    for token in range(100):
        pace.token(token * 0.02)
    assert not pace.is_slow(2.0)
    assert pace.is_slow(2.6)


def test_an_answer_moves_when_others_slow_it_and_back_when_they_leave(samples: deque[float]) -> None:
    servers = Servers("main", lambda: "calm")
    writing = Writing(servers, 10, movable=True)
    for token in range(100):
        writing.wrote("word ", token * 0.02)
    samples.extend([0.6] * 4)
    assert not writing.should_move(2.0)  # others are busy, and it is as fast as it was
    assert writing.should_move(3.0)
    writing.move()
    assert writing.server == "calm"
    writing.wrote("word ", 3.1)
    assert not writing.should_move(3.2)  # neither busy nor quiet
    samples.extend([0.0] * 4)
    assert writing.should_move(3.3)
    writing.move()
    assert writing.server == "main"


def test_an_answer_does_not_go_back_where_too_much_would_be_read_again(samples: deque[float]) -> None:
    samples.extend([1.0] * 4)
    writing = Writing(Servers("main", lambda: "calm"), READ_AGAIN_TOKENS + 1, movable=True)
    assert writing.server == "calm"
    writing.wrote("word", 0.0)
    samples.extend([0.0] * 4)
    assert not writing.should_move(1.0)


@pytest.mark.parametrize(
    ("servers", "movable"),
    [
        (Servers("main", lambda: "calm"), False),  # no other server can go on with it
        (Servers("main"), True),
        (Servers("main", lambda: "calm", lambda: False), True),
    ],
)
def test_an_answer_that_has_nowhere_to_go_stays(samples: deque[float], servers: Servers, movable: bool) -> None:
    writing = Writing(servers, 10, movable)
    servers.best_pace = 50
    writing.wrote("word", 0.0)
    samples.extend([1.0] * 4)
    assert not writing.should_move(9.0)
