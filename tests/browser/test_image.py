"""The Image page as a visitor meets it: pictures dropped, pasted and chosen, read, asked about, drawn on."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from llm.messages import ImagePart
from llm.vision.draw import COLOURS
from tests.browser.app_server import AppServer
from tests.vision.pictures import bilingual_picture

ANSWERED_WITHIN_MS = 120_000
DROPZONE = '[data-testid="stMainBlockContainer"] [data-testid="stFileUploaderDropzone"]'
_SEND = """([selector, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "note.png", {type: "image/png"}));
  const place = document.querySelector(selector);
  if (kind === "paste") {
    const event = new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
    place.dispatchEvent(event);
    return;
  }
  for (const name of ["dragenter", "dragover", "drop"])
    place.dispatchEvent(new DragEvent(name, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def image_page(app: AppServer, page: Page) -> Page:
    page.goto(f"{app.url}/image")
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled(timeout=60_000)
    return page


def send(page: Page, selector: str, kind: str, part: ImagePart) -> None:
    page.locator(selector).first.wait_for(timeout=30_000)
    page.evaluate(_SEND, [selector, kind, base64.b64encode(part.data).decode()])


def ask(page: Page, words: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(words)
    box.press("Enter")
    expect(page.locator('[class*="st-key-regenerate_"]').last).to_be_visible(timeout=ANSWERED_WITHIN_MS)


def last_answer(page: Page) -> str:
    return page.get_by_test_id("stChatMessage").last.get_by_test_id("stMarkdown").first.inner_text()


def test_a_dropped_picture_is_read_answered_and_drawn_on(image_page: Page, tmp_path: Path) -> None:
    page = image_page
    expect(page.locator(".st-key-image_reader_note")).to_contain_text("does not see objects")
    send(page, DROPZONE, "drop", bilingual_picture())
    expect(page.locator(".st-key-image_tray")).to_contain_text("900 × 260", timeout=30_000)
    ask(page, "What is the total of the invoice?")
    assert "358" in last_answer(page)
    expect(page.get_by_test_id("stChatMessage").first.locator("img").first).to_be_visible()
    page.locator('[class*="st-key-read_"] summary').first.click()
    drawn = page.locator('[class*="st-key-drawn_"] img')
    expect(drawn.first).to_be_visible(timeout=60_000)
    with page.expect_download() as download:
        page.locator('[class*="st-key-save_read_"] button').click()
    saved = tmp_path / "boxes.png"
    download.value.save_as(saved)
    _check_frames(Image.open(saved))


def _check_frames(image: Image.Image) -> None:
    """The two lines' frames lie around the words, which were drawn at (30, 30) and (30, 120)."""
    pixels = image.convert("RGB").load()
    assert image.size == (900, 260) and pixels is not None
    for shade, top in zip(COLOURS, (30, 120), strict=False):
        places = [(x, y) for x in range(900) for y in range(260) if pixels[x, y] == shade]
        across, down = [x for x, _ in places], [y for _, y in places]
        assert places, "the frame is not there"
        assert abs(min(across) - 30) < 20 and top - 15 < min(down) < top + 25 and top + 30 < max(down) < top + 75


def test_a_pasted_picture_goes_with_the_question_and_the_next_turn(image_page: Page) -> None:
    page = image_page
    send(page, '[data-testid="stChatInputTextArea"]', "paste", bilingual_picture())
    expect(page.get_by_test_id("stChatInputFile").or_(page.get_by_text("note.png")).first).to_be_visible()
    ask(page, "What is the total of the invoice?")
    assert "358" in last_answer(page)
    expect(page.get_by_test_id("stChatMessage").first.locator("img").first).to_be_visible()
    page.reload()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2, timeout=30_000)
    expect(page.get_by_test_id("stChatMessage").first.locator("img").first).to_be_visible()


def test_what_is_no_picture_is_refused_with_a_sentence(image_page: Page, tmp_path: Path) -> None:
    page = image_page
    broken = tmp_path / "broken.png"
    broken.write_bytes(bilingual_picture().data[:700])
    page.locator('[data-testid="stMainBlockContainer"] input[type=file]').first.set_input_files(broken)
    expect(page.get_by_test_id("stAlert")).to_contain_text("broken.png", timeout=30_000)
    expect(page.get_by_test_id("stAlert")).to_contain_text("damaged")


def test_a_link_into_this_machine_is_refused(image_page: Page, app: AppServer) -> None:
    page = image_page
    field = page.locator('[class*="st-key-image_link"] input')
    field.fill(f"{app.url}/_stcore/health")
    field.press("Enter")
    expect(page.get_by_test_id("stAlert")).to_contain_text("not followed", timeout=30_000)


def test_a_cut_out_region_waits_for_a_question(image_page: Page) -> None:
    page = image_page
    send(page, DROPZONE, "drop", bilingual_picture())
    expect(page.locator(".st-key-image_tray")).to_be_visible(timeout=30_000)
    # A click on what a run is still about to draw anew is lost.
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)
    page.locator(".st-key-image_crop summary").click()
    # By keyboard: while the panel unfolds and the preview arrives, what stood under the pointer moves.
    page.locator(".st-key-image_crop_take button").press("Enter")
    expect(page.locator(".st-key-image_tray")).to_contain_text("450 × 130", timeout=30_000)
