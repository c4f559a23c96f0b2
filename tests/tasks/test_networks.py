"""The catalogue's small networks on real photos: what they are known to see there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from llm.tasks import networks
from llm.tasks.labels import class_names, in_language
from llm.tasks.pictures import read_picture

Get = Callable[[str], Any]


@pytest.mark.parametrize(("name", "seen"), [("chelsea.png", "cat"), ("coffee.png", "espresso")])
def test_things_in_photos_are_named(network: Get, photos: Path, name: str, seen: str) -> None:
    labels, scores = networks.imagenet_scores(network("efficientnet-lite0"), read_picture(photos / name))
    assert scores.sum() == pytest.approx(1, abs=1e-4) and len(labels) == len(scores) == 1000
    assert seen in labels[int(scores.argmax())]


def test_every_thing_has_a_name_in_both_languages() -> None:
    names = class_names("imagenet")
    assert len(names) == len(set(names)) == len({in_language(name, "zh") for name in names}) == 1000
    assert in_language("espresso", "zh") == "浓缩咖啡" and in_language("espresso", "en") == "espresso"
    assert in_language("B-PER", "zh") == "B-PER"


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_how_a_page_lies_is_told(network: Get, photos: Path, turns: int) -> None:
    page = read_picture(photos / "page.png").rotate(-90 * turns, expand=True)
    labels, scores = networks.turn_scores(network("page-orientation"), page)
    assert labels[int(scores.argmax())] == networks.TURNS[turns] and scores.max() > 0.8


def _report() -> tuple[Image.Image, dict[str, tuple[int, int, int, int]]]:
    """A page with a heading, two paragraphs and a ruled table, and where they stand."""
    page = Image.new("RGB", (900, 1200), "white")
    draw = ImageDraw.Draw(page)
    font, large = (ImageFont.truetype("DejaVuSans.ttf", size) for size in (20, 44))
    draw.text((250, 60), "Annual Report 2026", "black", large)
    line = "Sales rose in every region while costs stayed as they were last year."
    for row in range(8):
        draw.text((80, 180 + 30 * row), line, "black", font)
    for row in range(6):
        draw.line((80, 700 + 50 * row, 820, 700 + 50 * row), "black", 2)
        if row < 5:
            for column in range(4):
                draw.text((95 + 185 * column, 713 + 50 * row), f"{row * 7 + column}.{column}5", "black", font)
    for column in range(5):
        draw.line((80 + 185 * column, 700, 80 + 185 * column, 950), "black", 2)
    return page, {"title": (250, 60, 690, 115), "text": (80, 180, 810, 415), "table": (80, 700, 820, 950)}


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    shared = np.clip(high - low, 0, None).prod()
    return float(shared / ((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod() - shared))


def test_the_parts_of_a_page_are_found_where_they_stand(network: Get) -> None:
    page, expected = _report()
    labels, scores, boxes = networks.layout_boxes(network("picodet-layout-cdla"), page, 0.5)
    assert (np.diff(scores) <= 0).all()
    for label, where in expected.items():
        fits = [_overlap(box, np.array(where)) for name, box in zip(labels, boxes, strict=True) if name == label]
        assert max(fits, default=0) > 0.7, label


def test_of_boxes_over_each_other_the_best_of_a_class_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [20, 20, 30, 30.0]])
    kept = networks.not_overlapping(boxes, np.array([0.8, 0.9, 0.5, 0.4]), np.array([0, 0, 1, 0]), 0.5)
    assert kept.tolist() == [1, 2, 3]


def test_what_stands_before_the_background_is_cut_out_at_the_pictures_size(network: Get) -> None:
    picture = Image.new("RGB", (301, 199), "white")
    ImageDraw.Draw(picture).ellipse((100, 50, 200, 150), fill="red")
    shares = networks.foreground(network("u2netp"), picture)
    down, across = np.mgrid[:199, :301]
    disc = (across - 150) ** 2 + (down - 100) ** 2 <= 50**2
    seen = shares > 0.5
    assert shares.shape == (199, 301) and (seen & disc).sum() / (seen | disc).sum() > 0.95


def test_a_blank_sheet_has_no_foreground(network: Get) -> None:
    """Stretching the answer to 0..1, as it is usually done, would make something of noise."""
    for colour in ("white", "black"):
        assert networks.foreground(network("u2netp"), Image.new("RGB", (64, 64), colour)).max() < 0.5
