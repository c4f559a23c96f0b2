"""The reader: text found in pictures, with places, and a chat model that answers from it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from llm.cancel import Cancel
from llm.catalogue.lookup import READER, find, where
from llm.errors import Cancelled
from llm.events import Finished, Progress, PromptReady, TextDelta
from llm.messages import DocumentPart, ImagePart, Message, TextPart, user
from llm.runtime.reader_model import NOTHING, ReaderModel, as_text
from llm.settings import GenerationSettings
from llm.vision.boxes import Box
from llm.vision.ocr import TextLine, in_lines, read_text
from llm.vision.picture import take_in
from tests.runtime.scripted import scripted_model
from tests.vision.pictures import CHINESE, ENGLISH, bilingual_picture

CJK_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")


def blank() -> ImagePart:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", "blank.png")


def english(text: str) -> ImagePart:
    image = Image.new("RGB", (700, 120), "white")
    ImageDraw.Draw(image).text((20, 30), text, fill="black", font=ImageFont.load_default(40))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", "note.png")


@pytest.mark.skipif(not CJK_FONT.exists(), reason="needs a font with Chinese signs to draw the picture")
def test_chinese_and_english_are_read_where_they_stand() -> None:
    lines = read_text(bilingual_picture())
    assert [line.text.replace(" ", "") for line in lines] == [ENGLISH.replace(" ", ""), CHINESE]
    # The words were drawn at (30, 30) and (30, 120) of 900 x 260 with letters of 40 pixels.
    for line, top in zip(lines, (30, 120), strict=True):
        left, upper, _, lower = line.box.pixels((900, 260))
        assert abs(left - 30) < 15 and top - 15 < upper < top + 25 and top + 30 < lower < top + 75
        assert line.score > 0.8


def test_nothing_to_read_is_nothing() -> None:
    assert read_text(blank()) == ()


def test_columns_are_read_one_after_the_other_and_receipts_row_by_row() -> None:
    def rows(left: str, right: str, edges: tuple[float, float, float, float]) -> list[TextLine]:
        a, b, c, d = edges
        return [
            TextLine(Box(f"{text}{row}", begin, 0.2 + row / 20, end, 0.23 + row / 20), 1.0)
            for row in range(5)
            for text, begin, end in ((left, a, b), (right, c, d))
        ]

    heading = TextLine(Box("Heading", 0.1, 0.05, 0.9, 0.1), 1.0)
    page = [heading, *rows("l", "r", (0.05, 0.45, 0.55, 0.95))]
    assert in_lines(page).split() == ["Heading", *(f"l{row}" for row in range(5)), *(f"r{row}" for row in range(5))]
    receipt = rows("tea", "3.50-", (0.05, 0.45, 0.85, 0.95))
    assert in_lines(receipt).splitlines() == [f"tea{row}  3.50-{row}" for row in range(5)]


def test_a_long_screenshot_is_read_whole_and_nothing_twice() -> None:
    image = Image.new("RGB", (260, 1500), "white")
    for row in range(12):
        place = (20, 20 + row * 122)
        ImageDraw.Draw(image).text(place, f"Message {row + 10}", fill="black", font=ImageFont.load_default(30))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    lines = read_text(take_in(stream.getvalue(), "chat.png").part)
    assert [line.text.replace(" ", "") for line in lines] == [f"Message{row + 10}" for row in range(12)]
    for row, line in enumerate(lines):
        assert abs(line.box.top * 1500 - (20 + row * 122)) < 20


def test_lines_side_by_side_are_one_line() -> None:
    def line(text: str, left: float, top: float) -> TextLine:
        return TextLine(Box(text, left, top, left + 0.1, top + 0.05), 1.0)

    assert in_lines([line("b", 0.5, 0.11), line("a", 0.1, 0.1), line("c", 0.1, 0.3)]) == "a  b\nc"


def test_pictures_become_documents_in_their_place() -> None:
    note = english("Platform 9 at 17:45")
    messages = as_text([user(blank(), "one"), user(note, "two")])
    assert messages[0].parts == (DocumentPart("Text in picture 1, blank.png", NOTHING), TextPart("one"))
    document = messages[1].parts[0]
    assert isinstance(document, DocumentPart) and document.name == "Text in picture 2, note.png"
    assert document.text.replace(" ", "") == "Platform9at17:45"


def test_the_chat_model_gets_the_text_and_its_events_come_through() -> None:
    chat, engine = scripted_model()
    reader = ReaderModel(chat.entry, chat)
    events = list(reader.stream([user(english("Gate 42"), "Where?")], GenerationSettings()))
    begun = [event for event in events if not isinstance(event, Progress)]
    assert isinstance(begun[0], PromptReady) and isinstance(events[-1], Finished)
    assert "Gate 42" in engine.received[0][0].text
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello there"


def test_stop_is_heard_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr("llm.runtime.reader_model.read_text", lambda part: time.sleep(4))
    chat, engine = scripted_model()
    cancel = Cancel()
    events = ReaderModel(chat.entry, chat).stream([user(blank(), "?")], GenerationSettings(), cancel)
    assert next(events) == Progress("reading", 0, 1)
    cancel.set()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        list(events)
    assert time.monotonic() - began < 3
    assert engine.received == []


def test_the_catalogue_finds_the_reader_of_a_chat_model(home_with_starter: Path) -> None:
    entry = find(f"{READER}smollm2-135m-instruct-q4_1")
    assert entry.engine == "reader" and "image" in entry.abilities and where(entry) is not None
    assert find(entry.id).path == where(entry)


def test_a_question_is_answered_from_a_picture(home_with_starter: Path) -> None:
    from llm.runtime import handles

    reader = handles.load(f"{READER}smollm2-135m-instruct-q4_1")
    try:
        question = Message("user", (english("Invoice total: 358 EUR"), TextPart("What is the total of the invoice?")))
        events = list(reader.stream([question], GenerationSettings(temperature=0, max_length=40)))
        assert "358" in "".join(event.text for event in events if isinstance(event, TextDelta))
    finally:
        for row in handles.loaded():
            handles.unload(row.key, force=True)
