"""The Speech page in a real browser with the real model: files, the microphone, the player, edits, downloads, chat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import srt
from playwright.sync_api import Browser, Page, expect

from tests.browser.app_server import AppServer
from tests.browser.chromium import launch_with
from tests.speech import samples
from tests.speech.conftest import whisper_folder  # noqa: F401

pytestmark = pytest.mark.slow

LONG = 90_000


@pytest.fixture(scope="module")
def speech_app(tmp_path_factory: pytest.TempPathFactory, whisper_folder: Path) -> Iterator[AppServer]:  # noqa: F811
    """The app with the starter speech model there."""
    home = tmp_path_factory.mktemp("speech")
    (home / "models").mkdir()
    (home / "models" / whisper_folder.name).symlink_to(whisper_folder)
    with AppServer(home, env={"HEARTH_THREADS": "2"}) as server:
        yield server


def open_speech(page: Page, app: AppServer) -> None:
    page.goto(f"{app.url}/speech")
    expect(page.get_by_test_id("stAudioInput")).to_be_visible(timeout=LONG)


def transcribe(page: Page, *files: Path) -> None:
    page.locator("input[type=file]").first.set_input_files([str(file) for file in files])
    start = page.locator(".st-key-speech_start button")
    expect(start).to_be_enabled(timeout=LONG)
    start.click()


def test_a_file_becomes_an_edited_subtitle_and_goes_to_the_chat(speech_app: AppServer, page: Page, tmp_path: Path):
    open_speech(page, speech_app)
    transcribe(page, samples.two_cities())
    expect(page.locator(".speech-live p").first).to_contain_text("best of times", timeout=LONG)
    expect(page.get_by_text(re.compile("× real time")).first).to_be_visible()
    rows = page.locator(".row")
    expect(rows.first).to_be_visible(timeout=LONG)

    # Clicking a segment plays from there, and the word being spoken is marked.
    page.evaluate("document.querySelector('.st-key-speech_player audio').muted = true")
    rows.nth(1).locator(".text").click()
    page.wait_for_function("document.querySelector('.st-key-speech_player audio').currentTime > 8.7", timeout=LONG)
    expect(page.locator(".word.now")).to_have_count(1, timeout=LONG)
    expect(page.locator(".row.playing")).to_contain_text("epoch")
    page.evaluate("document.querySelector('.st-key-speech_player audio').pause()")

    # Text is edited in place, two segments become one, and one becomes two.
    count = rows.count()
    rows.first.hover()
    rows.first.locator(".edit").click()
    page.locator(".row textarea").fill("It was the best of kettles.")
    page.locator(".row.editing button.main").click()
    expect(rows.first.locator(".text")).to_have_text("It was the best of kettles.", timeout=LONG)
    rows.nth(0).locator("input[type=checkbox]").check()
    rows.nth(1).locator("input[type=checkbox]").check()
    page.get_by_role("button", name="Merge").click()
    expect(rows).to_have_count(count - 1, timeout=LONG)
    rows.first.hover()
    rows.first.locator(".edit").click()
    page.locator(".row textarea").evaluate("area => { area.focus(); area.setSelectionRange(11, 11) }")
    page.get_by_role("button", name="Split at the cursor").click()
    expect(rows).to_have_count(count, timeout=LONG)
    expect(rows.first.locator(".text")).to_have_text("It was the", timeout=LONG)

    with page.expect_download() as waiting:
        page.locator(".st-key-speech_download_srt button").click()
    target = tmp_path / "a.srt"
    waiting.value.save_as(target)
    cues = list(srt.parse(target.read_text(encoding="utf-8")))
    assert waiting.value.suggested_filename == "two_cities.srt"
    assert cues[0].content == "It was the"
    assert "best of kettles" in " ".join(cue.content for cue in cues[:3])

    page.locator(".st-key-speech_to_chat button").click()
    expect(page.get_by_text("two_cities.txt").first).to_be_visible(timeout=LONG)
    assert page.url.endswith("/chat") or "/chat?" in page.url


def test_stop_keeps_what_is_done_and_a_reload_finds_it(speech_app: AppServer, open_page: Callable[..., Page]):
    page = open_page(locale="zh-CN", width=400, dark=True)
    open_speech(page, speech_app)
    transcribe(page, samples.two_cities())
    expect(page.locator(".speech-live p").first).to_be_visible(timeout=LONG)
    page.reload()  # the work goes on, and its progress is found again
    page.locator(".st-key-speech_cancel button").click(timeout=LONG)
    expect(page.locator(".row").first).to_contain_text("best of times", timeout=LONG)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    expect(page.get_by_text("录音还没处理完就被停止了").first).to_be_visible()
    page.reload()
    expect(page.locator(".row").first).to_contain_text("best of times", timeout=LONG)


def test_what_is_not_sound_is_told_in_a_sentence(speech_app: AppServer, page: Page, tmp_path: Path):
    bad = tmp_path / "holiday.mp4"
    bad.write_bytes(b"these are not pictures " * 100)
    open_speech(page, speech_app)
    transcribe(page, bad)
    expect(page.get_by_text(re.compile("holiday.mp4.*not a sound or video file"))).to_be_visible(timeout=LONG)
    assert page.get_by_text("Traceback").count() == 0


def test_what_is_spoken_into_the_microphone_is_written_down(speech_app: AppServer, browser: Browser):
    fake = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={samples.two_cities()}",
    ]
    hearing = launch_with(browser.browser_type, fake)
    try:
        page = hearing.new_context(permissions=["microphone"], locale="en-US").new_page()
        open_speech(page, speech_app)
        recorder = page.get_by_test_id("stAudioInput")
        recorder.get_by_role("button", name="Record").click()
        page.wait_for_timeout(7_000)
        recorder.get_by_role("button", name="Stop recording").click()
        start = page.locator(".st-key-speech_start button")
        expect(start).to_be_enabled(timeout=LONG)
        start.click()
        expect(page.locator(".row").first).to_contain_text(re.compile("best of times|worst of times"), timeout=LONG)
    finally:
        hearing.close()
