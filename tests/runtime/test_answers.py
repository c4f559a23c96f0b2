"""Answers that are written while nobody looks, are watched, stopped and kept."""

from __future__ import annotations

import threading
import time

import pytest

import llm
from llm.chat import answers as module
from llm.chat.answers import Answers, Request
from llm.errors import OutOfMemory, RanOut
from llm.events import Finished, Noted, TextDelta
from llm.messages import DocumentPart
from llm.store import store
from tests.runtime.scripted import scripted_model


@pytest.fixture
def begin(data_folder, monkeypatch):
    """Begins an answer of a scripted model in a new conversation."""

    def start(**script):
        model, engine = scripted_model(**script)
        monkeypatch.setattr(module.Answer, "_model", lambda self: model)
        kept = store()
        conversation = kept.create_conversation(system_prompt="be kind")
        question = kept.add(conversation.id, llm.user("hi"))
        request = Request("scripted", llm.GenerationSettings())
        return start.asking.begin(kept, conversation.id, question, request), kept, conversation.id, engine

    start.asking = Answers()
    return start


def watched(answer):
    return [event for batch in answer.watch() for event in batch]


def test_two_watchers_see_the_same_from_the_first_on(begin):
    answer, _, _, _ = begin(script=["a", "b", "c"], pause_s=0.05)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(watched(answer))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen[0] == seen[1] == watched(answer)
    assert "".join(event.text for event in seen[0] if isinstance(event, TextDelta)) == "abc"
    assert isinstance(seen[0][-1], Finished)


def test_it_is_kept_with_its_facts_and_its_tokens(begin):
    answer, kept, conversation_id, engine = begin(script=["a", "b"])
    watched(answer)
    last = kept.path(conversation_id)[-1]
    assert last.message.text == "ab" and last.meta.status == "complete" and last.meta.reason == "stop"
    assert last.meta.usage.completion_tokens == 2
    trace = kept.trace(last.id)
    assert [token.text for token in trace.tokens] == ["a", "b"]
    assert trace.prompt.ids == engine.received[0][0].ids and "be kind" in trace.prompt.text


def test_a_page_may_write_answers_in_its_own_way_and_keep_what_they_rest_on(begin):
    answer, kept, conversation_id, engine = begin(script=["never"])
    watched(answer)
    asked = []

    def write(model, messages, settings, cancel):
        asked.append([message.text for message in messages])
        yield Noted({"passages": [1, 2]})
        yield TextDelta("It says so [1].")
        yield Noted({"passages": [1]})
        yield Finished("stop")

    request = Request("scripted", llm.GenerationSettings(), write=write)
    begin.asking.ask(kept, conversation_id, llm.user("why?"), request)
    # It may not have begun yet, be written, or be over.
    deadline = time.monotonic() + 20
    while kept.path(conversation_id)[-1].meta.status != "complete" or len(kept.path(conversation_id)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    last = kept.path(conversation_id)[-1]
    assert last.message.text == "It says so [1]." and dict(last.meta.extra) == {"passages": [1]}
    assert asked == [["be kind", "hi", "never", "why?"]] and len(engine.received) == 1


def test_stop_keeps_what_was_written(begin):
    answer, kept, conversation_id, _ = begin(script=["a"] * 500, pause_s=0.01)
    for batch in answer.watch():
        if any(isinstance(event, TextDelta) for event in batch):
            answer.stop()
    last = kept.path(conversation_id)[-1]
    assert last.meta.status == "stopped" and 0 < len(last.message.text) < 500


def test_an_error_is_kept_with_what_was_written_before_it(begin):
    error = OutOfMemory(model="Scripted", detail="3 GB short")
    answer, kept, conversation_id, _ = begin(script=["a", "b"], error=error)
    watched(answer)
    last = kept.path(conversation_id)[-1]
    assert isinstance(answer.error, RanOut) and "Scripted" in str(answer.error)
    assert last.message.text == "ab" and last.meta.error == RanOut.code
    assert last.meta.extra["error_values"].items() <= answer.error.values.items()


def test_an_unexpected_failure_does_not_leave_watchers_waiting(begin):
    answer, kept, conversation_id, _ = begin(script=["a"], error=ZeroDivisionError("oops"))
    watched(answer)
    assert "oops" in str(answer.error)
    assert kept.path(conversation_id)[-1].meta.error == "model_error"


def test_what_was_shown_is_kept_about_once_a_second(begin, monkeypatch):
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.05)
    answer, kept, conversation_id, _ = begin(script=["a"] * 200, pause_s=0.01)
    text = ""
    for _ in answer.watch():
        text = kept.path(conversation_id)[-1].message.text
        if text:
            break
    assert 0 < len(text) < 200 and not answer.over
    answer.stop()
    watched(answer)


def test_questions_wait_their_turn_and_may_be_taken_back(begin):
    answer, kept, conversation_id, _ = begin(script=["a", "b", "c"], pause_s=0.2)
    asking = begin.asking
    request = Request("scripted", llm.GenerationSettings())
    first = kept.path(conversation_id)[0].id
    asking.ask(kept, conversation_id, llm.user("second", DocumentPart("a.txt", "picture")), request)
    asking.ask(kept, conversation_id, llm.user("never"), request)
    asking.ask(kept, conversation_id, None, request, first)
    waiting = kept.waiting(conversation_id)
    assert [question.message and question.message.text for question in waiting] == ["second", "never", None]
    kept.withdraw(conversation_id, waiting[1].id)
    watched(answer)
    assert kept.message(answer.id).message.text == "abc", "what was being written is not ended"
    while (running := asking.of(conversation_id)) is not None:
        watched(running)
    assert kept.waiting(conversation_id) == []
    shown = [stored.message.text for stored in kept.path(conversation_id)]
    assert shown == ["hi", "abc"] and len(kept.path(conversation_id)[-1].siblings) == 2
    second = kept.switch_branch(answer.id)
    assert [stored.message.text for stored in second] == ["hi", "abc", "second", "abc"]
    assert second[2].message.parts[-1] == DocumentPart("a.txt", "picture")
