"""Who answers whom, and how an answer is passed on, without a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from ray.exceptions import RayActorError

from deploy.ray_app import Call, conversation_of
from deploy.relay import Head, answered
from deploy.routing import ranked
from tests.own_loop import run

PLACES = [str(number) for number in range(5)]
TALKS = [f"talk-{number}" for number in range(1000)]
SSE = (200, [(b"content-type", b"text/event-stream; charset=utf-8")])
JSON = (200, [(b"content-type", b"application/json")])
OPENING = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


def test_only_the_dead_ones_conversations_move_and_they_are_spread() -> None:
    left = [place for place in PLACES if place != "2"]
    moved = [talk for talk in TALKS if ranked(talk, PLACES)[0] != ranked(talk, left)[0]]
    assert moved == [talk for talk in TALKS if ranked(talk, PLACES)[0] == "2"]
    assert set(Counter(ranked(talk, left)[0] for talk in moved)) == set(left)
    assert all(150 < count < 250 for count in Counter(ranked(talk, PLACES)[0] for talk in TALKS).values())


def call(body: bytes, **headers: str) -> Call:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Call("POST", "/v1/chat/completions", b"", named, None, None, body)


def test_what_a_conversation_is_known_by() -> None:
    first = b'{"model":"m","messages":[{"role":"user","content":"a"}]}'
    later = first.replace(b"}]", b'},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]')
    assert conversation_of(call(first)) == conversation_of(call(later)) != ""
    assert conversation_of(call(first)) != conversation_of(call(first.replace(b'"a"', b'"b"')))
    assert conversation_of(call(first)) != conversation_of(call(first, authorization="Bearer other"))
    named = conversation_of(call(first, x_conversation_id="1"))
    assert named == conversation_of(call(b"{}", x_conversation_id="1")) != conversation_of(call(first))
    for odd in (b"", b"[]", b"\xff", b'{"messages": 3}', b"[" * 100_000):
        assert conversation_of(call(odd)) == ""


class Replica:
    """Gives what it is told to, then dies if told so."""

    def __init__(self, *parts: Any, dies: bool = False) -> None:
        self.parts, self.dies, self.cancelled = parts, dies, False

    def ask(self) -> Any:
        replica, answer = self, self._answer()

        class Asked:
            def __aiter__(self) -> Any:
                return answer

            async def __anext__(self) -> Any:
                return await anext(answer)

            def cancel(self) -> None:
                replica.cancelled = True

        return Asked()

    async def _answer(self) -> AsyncIterator[Any]:
        for part in self.parts:
            yield part
        if self.dies:
            raise RayActorError()


def in_turn(*replicas: Replica) -> Callable[[], Any]:
    waiting = iter(replicas)
    return lambda: next(waiting).ask()


def received(*replicas: Replica) -> tuple[int, bytes]:
    async def all_of_it() -> tuple[int, bytes]:
        parts = answered(in_turn(*replicas))
        head = await anext(parts)
        return head.status, b"".join([part async for part in parts])

    return run(all_of_it())


def test_another_replica_answers_as_long_as_no_word_was_sent() -> None:
    whole = Replica(SSE, OPENING, WORD, b"data: [DONE]\n\n")
    expected = OPENING + WORD + b"data: [DONE]\n\n"
    for dead in (Replica(dies=True), Replica(SSE, dies=True), Replica(SSE, OPENING, dies=True)):
        assert received(dead, whole) == (200, expected)
    assert received(Replica(SSE, b": waiting\n\n", OPENING, dies=True), whole) == (200, b": waiting\n\n" + expected)
    assert received(Replica(JSON, b'{"half', dies=True), Replica(JSON, b'{"a":1}')) == (200, b'{"a":1}')


def test_an_answer_that_had_begun_ends_with_an_error() -> None:
    status, body = received(Replica(SSE, OPENING, WORD, dies=True), Replica(SSE, OPENING, WORD))
    assert status == 200 and body.startswith(OPENING + WORD) and body.count(WORD) == 1 and b"replica_died" in body


def test_when_all_die_the_client_is_told() -> None:
    assert received(*[Replica(dies=True)] * 3)[0] == 503
    status, body = received(Replica(SSE, dies=True), Replica(dies=True), Replica(SSE, OPENING, dies=True))
    assert status == 200 and body.startswith(b"data: ") and b"no_replica" in body
    refused = (429, [(b"content-type", b"application/json")])
    assert received(Replica(SSE, dies=True), Replica(refused, b'{"error": {}}'))[1] == b'data: {"error": {}}\n\n'


def test_a_client_that_leaves_ends_the_work() -> None:
    replica = Replica(SSE, OPENING, WORD, WORD, WORD)

    async def leave() -> None:
        parts = answered(in_turn(replica))
        assert isinstance(await anext(parts), Head)
        await anext(parts)
        await parts.aclose()  # type: ignore[attr-defined]

    run(leave())
    assert replica.cancelled
