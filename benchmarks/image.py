"""Pictures: how soon an answer begins beside a plain script, and what taking in and reading a picture costs.

    python -m benchmarks.image                 # about two minutes; prints the rows of docs/benchmarks.md
    python -m benchmarks.image --rounds 5

Time to the first token is measured with the small trained model of `tests/vision/easy_vqa`, from the moment that Enter
is pressed: until Chromium shows the answer's first word, and until Hearth's handle gives it to a plain script. The peer
is the script of the model's documentation: the processor makes the inputs, `generate` writes, a streamer hands the
first text over. Each round measures every one of them, on another picture; the median counts.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import llm
import llm.engines.transformers  # before torch, as it sets how torch's threads wait
import torch

# isort: on
from PIL import Image, ImageDraw, ImageFont

from llm.messages import ImagePart, user
from llm.vision.ocr import read_text
from llm.vision.picture import for_model, take_in
from tests.vision.easy_vqa_sample import MODEL, held_out

QUESTION = "what color is the shape?"
GREEDY = llm.GenerationSettings(temperature=0, max_length=6)
FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
PAGE = [
    "Minutes of the meeting of the reading circle, held in the library on 12 March.",
    "读书会会议记录，三月十二日，图书馆。",
    "Present were eleven members and two guests. The minutes of February were read and accepted.",
    "出席会员十一人，来宾两人。二月的会议记录宣读后通过。",
    "It was agreed to meet twice a month from now on, and to read shorter books in summer.",
    "大家同意今后每月聚会两次，夏天读篇幅短一些的书。",
    "The treasurer reported 358.40 in hand after the purchase of four lamps.",
    "司库报告：购买四盏台灯之后，余款三百五十八元四角。",
]


def median_ms(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Script:
    """What the documentation of Qwen2-VL shows, with a streamer for the first text."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        from llm.engines.transformers.vision import processor_of

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        pictures = AutoImageProcessor.from_pretrained(folder)
        self.processor = processor_of("Qwen2VLProcessor", pictures, self.tokenizer)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()

    def first_token_s(self, picture: ImagePart) -> float:
        from transformers import TextIteratorStreamer

        began = time.perf_counter()
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        image = Image.open(io.BytesIO(picture.data)).convert("RGB")
        inputs = self.processor(text=[text], images=[image], return_tensors="pt")
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        arguments = {**inputs, "max_new_tokens": 6, "do_sample": False, "streamer": streamer}
        thread = threading.Thread(target=self.model.generate, kwargs=arguments)
        thread.start()
        next(text for text in streamer if text)
        seconds = time.perf_counter() - began
        thread.join()
        return seconds


def hearth_first_token_s(model: Any, picture: ImagePart) -> float:
    began = time.perf_counter()
    with_picture = model.stream([user(picture, QUESTION)], GREEDY)
    next(event for event in with_picture if isinstance(event, llm.TextDelta))
    seconds = time.perf_counter() - began
    with_picture.close()
    return seconds


def first_tokens(rounds: int) -> None:
    """Prints Hearth's handle beside the script, in turns."""
    pictures = list(dict.fromkeys(picture for picture, _, _ in held_out()))
    script, model = Script(MODEL), llm.load(MODEL, llm.LoadPlan("cpu", "float32"))
    script.first_token_s(pictures[-1])
    hearth_first_token_s(model, pictures[-1])
    ours, theirs = [], []
    for number in range(rounds):
        picture = pictures[number % (len(pictures) - 1)]
        theirs.append(script.first_token_s(picture))
        ours.append(hearth_first_token_s(model, picture))
    share = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"| first token, plain script with processor and `generate` | {median_ms(theirs):.0f} ms | |")
    print(f"| first token, Hearth's handle | {median_ms(ours):.0f} ms, {share:.2f} of the script | <= 1.1 |")


def photo(width: int = 4000, height: int = 3000) -> bytes:
    """A JPEG of 12 megapixels with the detail of a photo: blurred noise over a gradient."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator, dtype=torch.uint8)
    image = Image.fromarray(coarse.numpy()).resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned, as phones store them
    image.save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


def preparing(rounds: int) -> None:
    data = photo()
    kept = take_in(data, "photo.jpg")
    print(f"| taking in a photo of 12 megapixels ({len(data) / 1e6:.1f} MB JPEG): checked, turned, without metadata | "
          f"{median_ms([timed(lambda: take_in(data, 'photo.jpg')) for _ in range(rounds)]):.0f} ms | |")  # fmt: skip
    made = [timed(lambda: for_model(kept.part)) for _ in range(rounds)]
    print(
        f"| the same made ready for a model, {kept.model_size[0]} x {kept.model_size[1]} | {median_ms(made):.0f} ms | |"
    )


def page_of_text() -> ImagePart:
    image = Image.new("RGB", (1240, 1754), "white")  # A4 at 150 dots an inch
    pen, font = ImageDraw.Draw(image), ImageFont.truetype(FONT, 25)
    for number in range(32):
        pen.text((70, 70 + 50 * number), PAGE[number % len(PAGE)], fill="black", font=font)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", "page.png")


def reading() -> None:
    page = page_of_text()
    read_text(ImagePart(page.data, "image/png", "first.png"))  # loads the reader's own models
    began = time.perf_counter()
    lines = read_text(ImagePart(page.data, "image/png", "again.png"))
    print(f"| the reader on a page of {len(lines)} lines, Chinese and English, 1240 x 1754 | "
          f"{time.perf_counter() - began:.1f} s | |")  # fmt: skip


def in_the_browser(rounds: int) -> None:
    """Prints the time from Enter until Chromium shows the answer, the picture already waiting on the page."""
    from playwright.sync_api import sync_playwright

    from llm.catalogue.lookup import find
    from llm.catalogue.toml_file import write_entries
    from tests.browser.app_server import AppServer
    from tests.browser.chromium import launch

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        write_entries(home / "models.toml", [find(MODEL)])
        with AppServer(home) as server:
            browser = launch(playwright)
            page = browser.new_page()
            times = [_asked(page, server.url) for _ in range(rounds + 1)][1:]
            browser.close()
    print(f"| Enter to the first word in Chromium | {median_ms(times):.0f} ms | |")


def _asked(page: Any, url: str) -> float:
    page.goto(f"{url}/image")
    box = page.get_by_test_id("stChatInputTextArea")
    box.wait_for(timeout=60_000)
    picture = next(iter(held_out()))[0]
    files = [{"name": "picture.png", "mimeType": "image/png", "buffer": picture.data}]
    page.locator('[class*="st-key-image_files"] input[type=file]').set_input_files(files)
    page.locator(".st-key-image_tray").wait_for(timeout=30_000)
    page.evaluate("""() => {
      window.began = window.seen = 0;
      document.addEventListener("keydown", e => { if (e.key === "Enter") window.began ||= performance.now(); }, true);
      new MutationObserver(() => {
        const said = [...document.querySelectorAll('[data-testid=stChatMessage]')][1];
        if (said && /\\b(black|gray|red|green|blue|yellow|teal|brown)\\b/.test(said.innerText))
          window.seen ||= performance.now();
      }).observe(document.body, {childList: true, subtree: true, characterData: true});
    }""")
    box.fill(QUESTION)
    box.press("Enter")
    page.wait_for_function("() => window.seen > 0", timeout=60_000)
    return float(page.evaluate("() => (window.seen - window.began) / 1000"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", default=["first", "photo", "page", "browser"])
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "first": lambda: first_tokens(chosen.rounds),
        "photo": lambda: preparing(max(3, chosen.rounds // 3)),
        "page": reading,
        "browser": lambda: in_the_browser(max(3, chosen.rounds // 3)),
    }
    print("| measured | value | bar |\n|---|---|---|")
    for name in chosen.only:
        parts[name]()


if __name__ == "__main__":
    main()
