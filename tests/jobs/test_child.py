"""A child program tells what happens, stays within its limits, and ends with whoever asked."""

from __future__ import annotations

import threading

import pytest

from llm.cancel import Cancel
from llm.errors import Cancelled, ChildFailed, ChildTookTooLong, ChildTookTooMuch, MessageTooLong
from llm.jobs.child import ChildLimits, run_child

CHILD = "tests.jobs.works"


def test_events_arrive_in_order_and_the_result_comes_back(tmp_path):
    seen = []
    assert run_child(CHILD, {"do": "count"}, tmp_path, on_event=seen.append) == {"sum": 6, "text": "完"}
    assert [event["done"] for event in seen] == [1, 2, 3]


def test_an_earlier_run_of_the_folder_is_not_taken_for_this_one(tmp_path):
    run_child(CHILD, {"do": "count"}, tmp_path)
    with pytest.raises(ChildFailed, match="broken in the child"):
        run_child(CHILD, {"do": "crash"}, tmp_path)


def test_what_the_child_raises_is_raised_with_its_code_and_values(tmp_path):
    with pytest.raises(MessageTooLong) as raised:
        run_child(CHILD, {"do": "fail"}, tmp_path)
    assert raised.value.values["over_tokens"] == 1


def test_a_cancelled_child_may_keep_what_it_has(tmp_path):
    cancel = Cancel()
    with pytest.raises(Cancelled):
        run_child(CHILD, {"do": "wait"}, tmp_path, cancel, lambda event: cancel.set())
    assert (tmp_path / "kept").read_text() == "what there was"


def test_memory_and_time_are_bounded(tmp_path):
    with pytest.raises(ChildTookTooMuch):
        run_child(CHILD, {"do": "eat"}, tmp_path / "a", limits=ChildLimits(memory_bytes=300 << 20))
    with pytest.raises(ChildTookTooLong):
        run_child(CHILD, {"do": "wait"}, tmp_path / "b", limits=ChildLimits(wall_s=1.0))


def test_two_at_once_do_not_mix(tmp_path):
    results = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: run_child(CHILD, {"do": "count"}, tmp_path / str(n))}))
        for n in range(2)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert results == {0: {"sum": 6, "text": "完"}, 1: {"sum": 6, "text": "完"}}
