"""The small model that was trained on easy-VQA, and held-out pictures with the questions about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from llm.messages import ImagePart

MODEL = Path(__file__).with_name("easy_vqa")
_SAMPLE = Path(__file__).with_name("easy_vqa_questions")


def held_out() -> Iterator[tuple[ImagePart, str, str]]:
    """Picture, question and right answer: all questions about 24 of the 1,000 held-out pictures, drawn by lot."""
    asked = json.loads((_SAMPLE / "questions.json").read_text(encoding="utf-8"))
    for picture, pairs in asked.items():
        part = picture_of(int(picture))
        for question, answer in pairs:
            yield part, question, answer


def picture_of(number: int) -> ImagePart:
    return ImagePart((_SAMPLE / f"{number}.png").read_bytes(), "image/png", f"{number}.png")
