"""Which server writes an answer while others keep the machine busy."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from llm.engines.llamacpp import contention
from llm.engines.llamacpp.contention import Servers, is_contended


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
    assert servers.now(repeatable=True) == "main"  # a seed promises the same answer again
    samples.extend([0.0] * 4)
    assert servers.now() == "main"


def test_without_memory_for_it_or_when_it_fails_the_main_one_goes_on(samples: deque[float]) -> None:
    samples.extend([1.0] * 4)
    assert Servers("main", lambda: "calm", lambda: False).now() == "main"

    def fails() -> Any:
        raise RuntimeError("failed to load model")

    servers = Servers("main", fails)
    assert servers.now() == "main" and servers.make_calm is None
