"""The tree of messages, and answers that are being written."""

import threading

import pytest

from llm.errors import NotFound
from llm.events import Alternative, Timings, Token, Usage
from llm.messages import (
    AudioPart,
    BoxPart,
    DocumentPart,
    ImagePart,
    Message,
    RefPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    assistant,
    user,
)
from llm.prompt import Piece, Prompt
from llm.store import LATEST, Meta, Trace


def words(path):
    return [stored.message.text for stored in path]


def test_every_part_comes_back_as_it_was(kept):
    message = Message(
        "user",
        (
            TextPart("Hello 你好 \ud800 \0 <|im_end|>"),
            ThinkingPart("hm"),
            ImagePart(b"\x89PNG", "image/png", "cat.png"),
            AudioPart(b"RIFF", "audio/wav", "a.wav"),
            DocumentPart("talk.txt", "words"),
            RefPart("cat"),
            BoxPart(1, 2, 3, 4),
            ToolCallPart("1", "sum", '{"a": 1}'),
            ToolResultPart("1", "sum", "2"),
        ),
    )
    made = kept.create_conversation()
    kept.add(made.id, message)
    (stored,) = kept.path(made.id)
    assert stored.message == message


def test_meta_comes_back_as_it_was(kept):
    made = kept.create_conversation()
    meta = Meta("stopped", "m", "cancelled", "", Usage(3, 4, 2), Timings(0.5, 1.0, 2.0), 2, {"reader": True})
    kept.add(made.id, assistant("hi"), meta=meta)
    assert kept.path(made.id)[0].meta == meta


def test_regenerate_and_edit_make_siblings_that_can_be_walked(kept):
    made = kept.create_conversation()
    question = kept.add(made.id, user("q1"))
    first = kept.add(made.id, assistant("a1"))
    follow = kept.add(made.id, user("q2"))
    second = kept.add(made.id, assistant("a2"), parent_id=question)  # regenerate
    path = kept.path(made.id)
    assert words(path) == ["q1", "a2"]
    assert (path[1].siblings, path[1].index) == ((first, second), 1)
    assert words(kept.switch_branch(first)) == ["q1", "a1", "q2"]
    assert kept.path(made.id)[1].index == 0
    edited = kept.add(made.id, user("q1 better"), parent_id=None)  # edit of the first question
    assert words(kept.path(made.id)) == ["q1 better"]
    assert kept.path(made.id)[0].siblings == (question, edited)
    assert words(kept.switch_branch(question)) == ["q1", "a2"], "down to the newest end"
    assert words(kept.path(made.id, leaf=follow)) == ["q1", "a1", "q2"]
    assert kept.message(follow).message.text == "q2"
    with pytest.raises(NotFound):
        kept.path(made.id, leaf=10**6)
    with pytest.raises(NotFound):
        kept.switch_branch(10**6)


def test_a_parent_must_be_of_the_same_conversation(kept):
    one, two = kept.create_conversation(), kept.create_conversation()
    foreign = kept.add(one.id, user("x"))
    with pytest.raises(NotFound):
        kept.add(two.id, user("y"), parent_id=foreign)
    with pytest.raises(NotFound):
        kept.add("nowhere", user("y"))
    assert kept.path(two.id) == []


def test_an_answer_grows_and_ends(kept):
    made = kept.create_conversation()
    kept.add(made.id, user("q"))
    answer = kept.begin_answer(made.id, LATEST, Meta(model="m"))
    assert kept.path(made.id)[-1].meta == Meta("writing", model="m")
    assert kept.save_partial(answer, [TextPart("once upon")])
    shown = kept.path(made.id)[-1]
    assert (shown.message.text, shown.meta.status, shown.meta.model) == ("once upon", "writing", "m")
    assert kept.list("once upon").items == (), "an answer is searched when it ends"
    kept.finish_answer(answer, [TextPart("once upon a time")], Meta(model="m", reason="stop"))
    assert kept.path(made.id)[-1].meta == Meta("complete", model="m", reason="stop")
    assert not kept.save_partial(answer, [TextPart("late")]), "a late save changes nothing"
    assert words(kept.path(made.id)) == ["q", "once upon a time"]
    assert [c.id for c in kept.list("upon").items] == [made.id]
    assert not kept.save_partial(10**6, [])
    with pytest.raises(NotFound):
        kept.finish_answer(10**6, [], Meta())
    with pytest.raises(ValueError, match="writing"):
        kept.finish_answer(answer, [], Meta("writing"))


def test_the_trace_is_kept_and_small(kept):
    kinds = ["control", "system", "control", "user"]
    pieces = tuple(Piece(n % 97, f"w{n % 97}", kinds[n * 4 // 1000]) for n in range(1000))
    prompt = Prompt("".join(p.text for p in pieces), tuple(p.id for p in pieces), pieces, 2048, 3)
    tokens = tuple(
        Token(n, f"t{n}", -n / 1000, tuple(Alternative(n + k, f"t{n + k}", -k / 8) for k in range(5)))
        for n in range(3000)
    )
    tokens += (Token(1, "\ud83d", None), Token(2, "z", float("-inf")))
    trace = Trace(prompt, tokens)
    made = kept.create_conversation()
    answer = kept.begin_answer(made.id)
    assert not kept.path(made.id)[-1].has_trace and kept.trace(answer) is None
    kept.finish_answer(answer, [TextPart("x")], Meta(), trace)
    assert kept.path(made.id)[-1].has_trace
    found = kept.trace(answer)
    assert found.prompt == prompt
    assert found.tokens[:-1] == tokens[:-1]
    assert found.tokens[-1].logprob == -9999.0
    assert len(trace.pack()) < 150_000
    with pytest.raises(NotFound):
        kept.trace(10**6)


def test_many_threads_write_and_read_at_once(kept):
    ids = [kept.create_conversation().id for _ in range(4)]
    errors = []

    def chat(conversation_id: str, name: str) -> None:
        try:
            for n in range(12):
                kept.add(conversation_id, user(f"{name} {n}"))
                answer = kept.begin_answer(conversation_id)
                kept.save_partial(answer, [TextPart("a")])
                kept.finish_answer(answer, [TextPart(f"answer to {name} {n}")], Meta())
                kept.path(conversation_id)
                kept.list(name)
        except Exception as error:  # the thread's failure is the test's
            errors.append(error)

    threads = [threading.Thread(target=chat, args=(ids[n % 4], f"person{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for conversation_id in ids:
        rows = kept.path(conversation_id)
        assert len(rows) >= 24 and all(row.meta.status == "complete" for row in rows)
