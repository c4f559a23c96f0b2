"""Edits: what a person changes, and what must follow from it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.speech import editing
from llm.speech.segments import Segment, Transcription, Word


def segment(text: str, start: float, end: float, probability: float = 0.4) -> Segment:
    parts = editing.units(text)
    step = (end - start) / len(parts)
    words = tuple(Word(p, start + i * step, start + (i + 1) * step, probability) for i, p in enumerate(parts))
    return Segment(text, start, end, words, avg_logprob=-0.3, marks=("unlikely",))


def rows() -> list[Segment]:
    return [segment("one two three", 0, 3), segment("four five", 3, 5), segment("six", 6, 7)]


def consistent(segments: list[Segment]) -> None:
    for left, right in pairwise(segments):
        assert left.end_s <= right.start_s + 1e-9
    for item in segments:
        assert item.end_s > item.start_s
        if item.words:
            assert "".join(word.text for word in item.words) == item.text
            times = [time for word in item.words for time in (word.start_s, word.end_s)]
            assert times == sorted(times)
            assert item.start_s - 1e-9 <= times[0] and times[-1] <= item.end_s + 1e-9


def test_words_that_stay_keep_their_times():
    changed = editing.with_text(rows()[0], "one twelve three")
    assert [word.text for word in changed.words] == ["one", " twelve", " three"]
    assert changed.words[0] == rows()[0].words[0]
    assert changed.words[2] == rows()[0].words[2]
    assert changed.marks == ()
    consistent([changed])


def test_a_typed_word_is_not_doubted():
    changed = editing.with_text(rows()[1], "four and a half five")
    assert [word.probability for word in changed.words] == [0.4, 1.0, 1.0, 1.0, 0.4]
    consistent([changed])


def test_chinese_is_timed_by_the_character():
    before = Segment("今天天气好", 0, 5, (Word("今天", 0, 2, 0.9), Word("天气好", 2, 5, 0.8)))
    changed = editing.with_text(before, "今天天气很好。")
    assert [word.text for word in changed.words] == ["今", "天", "天", "气", "很", "好。"]
    assert (changed.words[3].start_s, changed.words[3].end_s) == (3, 4)
    consistent([changed])


def test_same_text_changes_nothing():
    assert editing.with_text(rows()[0], " one  two three ") is not None
    assert editing.with_text(rows()[0], "one two three") == rows()[0]


def test_times_push_the_neighbours_aside():
    changed = editing.with_times(rows(), 1, 2.0, 6.5)
    assert [(s.start_s, s.end_s) for s in changed] == [(0, 2.0), (2.0, 6.5), (6.5, 7)]
    consistent(changed)
    far = editing.with_times(rows(), 1, 3.0, 9.0)
    assert far[2].start_s == 9.0
    consistent(far)


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 2), (-1, 2)])
def test_impossible_times_are_refused(start: float, end: float):
    with pytest.raises(ValueError, match="cannot last"):
        editing.with_times(rows(), 1, start, end)


def test_merging_joins_text_words_and_times():
    merged = editing.merged(rows(), 0, 2)
    assert [s.text for s in merged] == ["one two three four five six"]
    assert (merged[0].start_s, merged[0].end_s) == (0, 7)
    consistent(merged)
    chinese = editing.merged([segment("你好，", 0, 1), segment("世界", 1, 2)], 0, 1)
    assert chinese[0].text == "你好，世界"


def test_splitting_cuts_between_words():
    parts = editing.split(rows(), 0, 8)
    assert [s.text for s in parts[:2]] == ["one two", "three"]
    assert parts[0].end_s == pytest.approx(2) and parts[1].start_s == pytest.approx(2)
    consistent(parts)
    assert editing.split(rows(), 0, 0) == rows()


def test_splitting_without_words_goes_by_the_letters():
    parts = editing.split([Segment("aaaa bbbb", 0, 9)], 0, 5)
    assert [s.text for s in parts] == ["aaaa", "bbbb"]
    assert 4 < parts[0].end_s <= parts[1].start_s < 6
    assert parts[0].words == ()


def test_another_try_takes_the_place_of_its_passage():
    new = [segment("new", 3.2, 4.8)]
    assert [s.text for s in editing.replaced(rows(), 3, 5, new)] == ["one two three", "new", "six"]


def test_a_transcription_survives_json():
    value = Transcription("a", "en", tuple(rows()), duration_s=7.0, options={"beam_size": 3})
    assert Transcription.of(value.to_dict()) == value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_run_of_edits_stays_consistent(data: st.DataObject):
    segments = rows()
    for _ in range(data.draw(st.integers(1, 6))):
        index = data.draw(st.integers(0, len(segments) - 1))
        kind = data.draw(st.sampled_from(["text", "times", "merge", "split"]))
        if kind == "text":
            text = data.draw(st.sampled_from(["one two", "new words 你好世界 here", "x", "six seven eight nine"]))
            segments[index] = editing.with_text(segments[index], text)
        elif kind == "times":
            start = data.draw(st.floats(0, 10))
            segments = editing.with_times(segments, index, start, start + data.draw(st.floats(0.1, 5)))
        elif kind == "merge":
            segments = editing.merged(segments, index, min(index + 1, len(segments) - 1))
        else:
            segments = editing.split(segments, index, data.draw(st.integers(0, len(segments[index].text))))
        consistent(segments)
