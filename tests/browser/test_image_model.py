"""The Image page with models that see: right answers, the camera, a table over many pictures, ranked captions."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from llm.catalogue.lookup import find
from llm.catalogue.toml_file import write_entries
from llm.messages import ImagePart
from tests.browser.app_server import AppServer
from tests.browser.chromium import launch_with
from tests.browser.test_image import ask, last_answer
from tests.vision.easy_vqa_sample import MODEL, held_out
from tests.vision.test_clip import tiny_clip

COLOUR = "what color is the shape?"
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def seeing_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """An app with two models of the user's own: the one trained on easy-VQA, and a tiny random CLIP."""
    home = tmp_path_factory.mktemp("home")
    clip = tiny_clip("clip", tmp_path_factory.mktemp("clip") / "tiny-clip")
    write_entries(home / "models.toml", [find(MODEL), find(clip)])
    with AppServer(home, env={"HEARTH_THREADS": "2"}) as server:
        yield server


def coloured(count: int) -> list[tuple[ImagePart, str]]:
    """Held-out pictures and the colour of the shape in each."""
    return [(picture, answer) for picture, question, answer in held_out() if question == COLOUR][:count]


def upload(page: Page, *pictures: ImagePart, place: str = '[class*="st-key-image_files"]') -> None:
    files = [{"name": part.name, "mimeType": part.media_type, "buffer": part.data} for part in pictures]
    page.locator(f"{place} input[type=file]").set_input_files(files)  # type: ignore


def open_image(page: Page, app: AppServer) -> None:
    page.goto(f"{app.url}/image")
    expect(page.get_by_role("radio", name="Ask")).to_be_visible(timeout=60_000)
    choose_mode(page, "Ask")  # what another test chose last is kept
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled(timeout=60_000)


def choose_mode(page: Page, name: str) -> None:
    page.get_by_test_id("stMainBlockContainer").get_by_role("radio", name=name).click()


def test_a_model_that_sees_answers_right(seeing_app: AppServer, page: Page) -> None:
    open_image(page, seeing_app)
    page.get_by_text("Under the hood").first.click()
    (picture, colour), *_ = coloured(1)
    upload(page, picture)
    expect(page.locator(".st-key-image_tray")).to_contain_text("64 × 64", timeout=30_000)
    ask(page, COLOUR)
    assert last_answer(page).strip() == colour
    page.locator('[class*="st-key-hood_"] summary').last.click()
    hood = page.locator('[class*="st-key-hood_"]').last
    expect(hood).to_contain_text("Picture 1 takes 16 tokens of the context", timeout=30_000)
    page.get_by_test_id("stChatMessage").last.locator('[class*="st-key-regenerate_"] button').first.click()
    expect(page.get_by_text("2/2")).to_be_visible(timeout=60_000)
    assert last_answer(page).strip() == colour


def test_a_photo_of_the_camera_waits_for_a_question(seeing_app: AppServer, browser: Browser) -> None:
    camera = launch_with(browser.browser_type, FAKE_CAMERA)
    page = camera.new_page(locale="en-US")
    open_image(page, seeing_app)
    page.locator(".st-key-image_camera_on label").first.click()
    button = page.get_by_test_id("stCameraInputButton")
    expect(button).to_be_enabled(timeout=30_000)
    # Before its first frame the camera has no photo to give, and says nothing about it.
    page.wait_for_function(
        "document.querySelector('video')?.readyState === 4 && document.querySelector('video').videoWidth"
    )
    button.click()
    expect(page.locator(".st-key-image_tray img")).to_be_visible(timeout=30_000)
    ask(page, COLOUR)
    assert last_answer(page).strip()
    camera.close()


def test_one_question_over_many_pictures_gives_a_table(seeing_app: AppServer, page: Page, tmp_path: Path) -> None:
    open_image(page, seeing_app)
    choose_mode(page, "One question, many pictures")
    wanted = coloured(3)
    question = page.locator(".st-key-image_table_question input")
    expect(question).to_be_visible(timeout=30_000)
    upload(page, *(picture for picture, _ in wanted), place=".st-key-image_table_files")
    run = page.locator(".st-key-image_table_run button")
    expect(run).to_be_enabled(timeout=30_000)
    question.fill(COLOUR)
    question.press("Enter")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)
    run.click()
    expect(page.get_by_text("· Done")).to_be_visible(timeout=120_000)
    with page.expect_download() as download:
        page.locator(".st-key-image_table_csv button").click()
    download.value.save_as(tmp_path / "table.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "table.csv").read_text("utf-8-sig"))))
    assert rows[1:] == [[picture.name, COLOUR, colour] for picture, colour in wanted]
    with page.expect_download() as download:
        page.locator(".st-key-image_table_excel button").click()
    download.value.save_as(tmp_path / "table.xlsx")
    with zipfile.ZipFile(tmp_path / "table.xlsx") as book:
        cells = b"".join(book.read(name) for name in book.namelist()).decode(errors="replace")
    assert all(f">{colour}<" in cells for _, colour in wanted)


def test_captions_are_ranked_as_a_chart(seeing_app: AppServer, page: Page) -> None:
    open_image(page, seeing_app)
    choose_mode(page, "Which caption fits")
    expect(page.locator(".st-key-image_clip_captions textarea")).to_be_visible(timeout=30_000)
    upload(page, coloured(1)[0][0], place=".st-key-image_clip_file")
    page.locator(".st-key-image_clip_run button").click()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=60_000)
    expect(page.get_by_test_id("stException")).to_have_count(0)
