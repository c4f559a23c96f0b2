"""The Image page as a script: what it shows, keeps and refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from llm.messages import ImagePart, Message, TextPart, assistant
from llm.store import Meta, store
from llm.vision.boxes import Box
from ui.image import state as image_state
from ui.shared.state import CHAT_CONVERSATION

PAGE = str(Path(__file__).parents[2] / "pages" / "image.py")


def white() -> ImagePart:
    stream = io.BytesIO()
    Image.new("RGB", (400, 200), "white").save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", "white.png")


@pytest.fixture
def page(home_with_starter: Path) -> AppTest:
    return AppTest.from_file(PAGE, default_timeout=30)


def test_a_fresh_machine_reads_text_and_says_so(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert page.selectbox[0].value == "reader"
    assert any("does not see objects" in text.value for text in page.caption)
    assert page.button(key="image_other_vision")


def test_waiting_pictures_show_their_sizes_and_ready_made_questions(page: AppTest) -> None:
    from llm.vision.picture import take_in

    stream = io.BytesIO()
    Image.new("RGB", (4096, 2048), "white").save(stream, "JPEG")
    page.session_state[image_state.WAITING] = [take_in(stream.getvalue(), "photo.jpg")]
    page.run()
    assert not page.exception
    assert any("4096 × 2048, given to the model as 2048 × 1024" in text.value for text in page.caption)
    assert page.button(key="image_ask_describe") and page.button(key="image_ask_chart")
    page.button(key="image_remove_0").click().run()
    assert not page.session_state[image_state.WAITING]


def test_an_answers_boxes_are_offered_on_its_picture(page: AppTest) -> None:
    kept = store()
    conversation = kept.create_conversation(model="qwen3-vl-2b-instruct", kind="image")
    kept.add(conversation.id, Message("user", (white(), TextPart("Find the cup."))))
    answer = kept.begin_answer(conversation.id, meta=Meta(status="writing", model="qwen3-vl-2b-instruct"))
    words = '```json\n[{"bbox_2d": [250, 300, 750, 800], "label": "cup"}]\n```'
    kept.finish_answer(answer, assistant(words).parts, Meta(model="qwen3-vl-2b-instruct"))
    page.session_state[CHAT_CONVERSATION] = conversation.id
    page.run()
    assert not page.exception
    from llm.catalogue.lookup import find
    from llm.vision.boxes import boxes_of, scale_of

    assert boxes_of(words, scale_of(find("qwen3-vl-2b-instruct"), (400, 200))) == [Box("cup", 0.25, 0.3, 0.75, 0.8)]
    assert [button for button in page.get("download_button") if button.proto.id.endswith(f"save_boxes_{answer}")]


def test_an_empty_question_is_refused(page: AppTest) -> None:
    page.run()
    page.chat_input[0].set_value("   ").run()
    assert not page.exception
    assert page.error


def test_refused_pictures_are_told_in_the_visitors_language(page: AppTest) -> None:
    page.session_state["app.language"] = "zh"
    page.session_state[image_state.PROBLEMS] = ["“a.png”是空文件"]
    page.run()
    assert not page.exception and "空文件" in page.error[0].value
    assert any("看不见物体" in text.value for text in page.caption)


def test_a_model_that_is_gone_is_named_and_kept_on_record(page: AppTest) -> None:
    conversation = store().create_conversation("Old", model="taken-away", kind="image")
    page.session_state[CHAT_CONVERSATION] = conversation.id
    page.run()
    assert not page.exception
    assert any("taken" in caption.value for caption in page.caption)
    assert store().conversation(conversation.id).model == "taken-away"
    assert any(button.key == f"open_{conversation.id}" for button in page.button)
