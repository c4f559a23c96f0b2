"""Every format, read back by a parser that is not ours."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pysrt
import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.speech.exports import FORMATS
from llm.speech.segments import Segment, Transcription, Word
from llm.speech.subtitles import LINE_COLUMNS, columns, cues

SENTENCES = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Short.",
    "今天天气很好，我们一起去公园散步，看到了许多盛开的花朵，还有一群孩子在草地上放风筝，真是令人愉快的一天。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。",
    "a --> b & <i>c</i> [00:01.00] d\n\n3\ttabs",
    "https://example.org/a/very/long/address/that/no/line/can/hold/because/it/has/no/space/at/all.html",
]


def transcription(*segments: Segment) -> Transcription:
    return Transcription("talk [1].mp3", "en", tuple(segments), duration_s=4000.0, model="m")


def example() -> Transcription:
    made = [
        Segment(text, 3000 + i * 5.5, 3000 + i * 5.5 + 5.4, words=words_of(text, 3000 + i * 5.5))
        for i, text in enumerate(SENTENCES)
    ]
    return transcription(*made)


def words_of(text: str, start_s: float) -> tuple[Word, ...]:
    parts = re.findall(r"\s*\S+", text)
    return tuple(Word(part, start_s + i * 0.2, start_s + i * 0.2 + 0.18, 0.9) for i, part in enumerate(parts))


def write(ending: str, value: Transcription) -> str:
    return FORMATS[ending][0](value)


def letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFC", text) if char.isalnum())


def check_cues(rows: list[tuple[float, float, str]]) -> None:
    clock = 0.0
    for start, end, text in rows:
        assert clock <= start < end
        clock = end
        lines = text.split("\n")
        assert len(lines) <= 2
        assert all(line.strip() and columns(line) <= LINE_COLUMNS for line in lines)


def srt_rows(text: str) -> list[tuple[float, float, str]]:
    return [(s.start.total_seconds(), s.end.total_seconds(), s.content) for s in srt.parse(text, ignore_errors=False)]


def vtt_rows(text: str) -> list[tuple[float, float, str]]:
    captions = webvtt.from_buffer(io.StringIO(text))
    return [
        (
            c.start_in_seconds + c.start_time.milliseconds / 1000,
            c.end_in_seconds + c.end_time.milliseconds / 1000,
            c.raw_text,
        )
        for c in captions
    ]


def test_srt_is_read_by_two_parsers():
    text = write("srt", example())
    rows = srt_rows(text)
    check_cues(rows)
    other = pysrt.from_string(text)
    assert [item.index for item in other] == list(range(1, len(rows) + 1))
    assert [(item.start.ordinal, item.end.ordinal) for item in other] == [
        (round(a * 1000), round(b * 1000)) for a, b, _ in rows
    ]
    assert letters("".join(row[2] for row in rows)) == letters("".join(SENTENCES))
    assert "00:50:00,000 --> " in text


def test_vtt_is_read_by_a_parser_and_escaped():
    text = write("vtt", example())
    assert text.startswith("WEBVTT\n\n")
    bodies = [line for line in text.splitlines() if line and "-->" not in line]
    assert not any("<" in line for line in bodies)
    assert "&amp;" in text and "&lt;i&gt;" in text
    rows = vtt_rows(text)
    assert len(rows) == len(cues(example().segments))
    clock = 0.0
    for start, end, _ in rows:
        assert clock <= start < end
        clock = end


def test_lrc_has_a_time_on_every_line_in_order():
    lines = write("lrc", example()).splitlines()
    assert lines[0] == "[ti:talk (1).mp3]"
    assert re.fullmatch(r"\[length:66:40\.00\]", lines[1])
    times = []
    for line in lines[2:]:
        match = re.fullmatch(r"\[(\d{2,}):([0-5]\d)\.(\d\d)\](?!\[\d)(.*)", line)
        assert match, line
        times.append(int(match[1]) * 6000 + int(match[2]) * 100 + int(match[3]))
    assert times == sorted(times)
    assert times[0] == 3000 * 100


def test_tsv_is_read_by_csv():
    rows = list(csv.DictReader(io.StringIO(write("tsv", example())), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == len(SENTENCES)
    assert [int(row["start"]) for row in rows] == [round(3_000_000 + i * 5500) for i in range(len(SENTENCES))]
    assert [letters(row["text"]) for row in rows] == [letters(text) for text in SENTENCES]


def test_json_and_text_hold_everything():
    value = json.loads(write("json", example()))
    assert value["language"] == "en"
    assert [segment["text"] for segment in value["segments"]] == SENTENCES
    assert value["segments"][0]["words"][1] == {"word": " was", "start": 3000.2, "end": 3000.38, "probability": 0.9}
    assert [letters(line) for line in write("txt", example()).splitlines()] == [letters(text) for text in SENTENCES]


def test_an_edited_transcript_is_what_is_written():
    before = example()
    edited = transcription(Segment("Changed by hand.", 1.0, 2.0), *before.segments[1:])
    for ending in FORMATS:
        assert "Changed by hand" in write(ending, edited)
        assert "best of times" not in write(ending, edited)


@pytest.mark.parametrize("ending", list(FORMATS))
def test_an_empty_transcript_is_valid_too(ending: str):
    text = write(ending, transcription())
    if ending == "srt":
        assert text == ""
    elif ending == "vtt":
        assert len(webvtt.from_buffer(io.StringIO(text))) == 0


def test_chinese_lines_do_not_begin_with_punctuation():
    for cue in cues([Segment(SENTENCES[2], 0, 12)]):
        assert all(line[0] not in "，。、！？" for line in cue.lines)
        assert all(columns(line) <= LINE_COLUMNS for line in cue.lines)


def test_long_text_breaks_at_a_comma_and_cues_follow_the_words():
    made = cues([Segment(SENTENCES[0], 0.0, 10.0, words=words_of(SENTENCES[0], 0.0))])
    assert made[0].lines[-1].endswith(",")
    assert made[0].end_ms == round(
        words_of(SENTENCES[0], 0.0)["".join(made[0].lines).count(" ") + len(made[0].lines) - 1].end_s * 1000
    )


texts = st.one_of(
    st.sampled_from(SENTENCES),
    st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Mn", "Me")), min_size=1, max_size=200),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(texts, st.floats(0, 20_000), st.floats(-1, 40)), max_size=12))
def test_whatever_the_segments_cues_are_valid(rows):
    value = transcription(*(Segment(text, start, start + length) for text, start, length in rows))
    made = cues(value.segments)
    check_cues([(cue.start_ms, cue.end_ms, cue.text) for cue in made])
    kept = [segment for segment in value.segments if segment.text.strip()]
    got, wanted = "".join(cue.text for cue in made), "".join(s.text for s in kept)
    assert sorted(letters(got)) == sorted(letters(wanted))
    assert len(vtt_rows(write("vtt", value))) == len(made)
    for ending in FORMATS:
        write(ending, value)
