"""Grounding: what models say stands where in a picture, in the ways that they write it.

* Qwen-VL and Qwen2-VL: `<ref>a cat</ref><box>(x1,y1),(x2,y2)</box>` on a grid from 0 to 1000 (QwenLM/Qwen-VL,
  TUTORIAL.md); Qwen2-VL's tags are `<|object_ref_start|>` ... `<|box_end|>`, and some programs drop them.
* InternVL: `<ref>a cat</ref><box>[[x1, y1, x2, y2], ...]</box>` on the grid; GLM-4.5V:
  `<|begin_of_box|>[[...]]<|end_of_box|>`.
* Qwen2.5-VL: JSON objects with `bbox_2d` in pixels of the picture as its processor resized it; `point_2d` for points.
* Qwen3-VL: the same JSON, on a grid from 0 to 1000. Gemma and PaliGemma: `box_2d`, on the grid, y before x.

JSON is read value by value: nested objects, lists of boxes, numbers in quotes, Python's quotes; answers that were
cut off give every object that is whole.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llm.catalogue.entry import ModelEntry
from llm.catalogue.gguf import read_header
from llm.catalogue.json_file import read_json
from llm.catalogue.lookup import mmproj_of, where
from llm.errors import CorruptModel, UnsupportedModel
from llm.vision.picture import MODEL_SIDE, fitted

GRID = 1000
_LONGEST_LITERAL = 4000
_MOST_OBJECTS = 2000
Convention: TypeAlias = Literal["grid", "pixels"]
"""How JSON boxes count: on the 0 to 1000 grid, or in pixels of the resized picture. Tags always use the grid."""

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_CORNERS = rf"\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)"
_LISTS = r"\[\s*\[[^<>]*?\]\s*\]|\[[-\d.,\s]+\]"
_TAGS = re.compile(
    rf"(?:<ref>|<\|object_ref_start\|>)(?P<label>.*?)(?:</ref>|<\|object_ref_end\|>)"
    rf"|(?:<box>|<\|box_start\|>)\s*{_CORNERS}\s*(?:</box>|<\|box_end\|>)"
    rf"|(?:<box>|<\|box_start\|>|<\|begin_of_box\|>)\s*(?P<list>{_LISTS})\s*(?:</box>|<\|box_end\|>|<\|end_of_box\|>|$)",
    re.DOTALL,
)
_UNTAGGED = re.compile(rf"(?P<label>[^\n()\[\]{{}}]{{0,80}}?){_CORNERS}")
_DECODER = json.JSONDecoder(strict=False)
_BOXES = ("bbox_2d", "bbox", "box", "bounding_box")
_TALL_BOXES = ("box_2d",)
"""Gemma's: y before x, on the grid whatever else the answer counts in."""
_POINTS = ("point_2d", "point")
POINT_SIDE = 0.01
"""A point is drawn as a square of this share of the picture."""
_LABELS = ("label", "text_content", "sub_label", "name")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in a picture, in shares of its width and height (0 to 1), and what stands there."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in a picture of (width, height)."""
        width, height = size
        return (
            round(self.left * width),
            round(self.top * height),
            round(self.right * width),
            round(self.bottom * height),
        )


@dataclass(frozen=True, slots=True)
class Resizing:
    """How Qwen's processors size a picture: sides are multiples of `factor`, the area lies between two bounds."""

    factor: int = 28
    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 1280

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) as the model sees it: `smart_resize` of Qwen's image processor."""
        width, height = size
        seen_w, seen_h = (max(self.factor, round(side / self.factor) * self.factor) for side in (width, height))
        if seen_w * seen_h > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            return self._down(width / shrink), self._down(height / shrink)
        if seen_w * seen_h < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            return self._up(width * grow), self._up(height * grow)
        return seen_w, seen_h

    def _down(self, side: float) -> int:
        return max(self.factor, math.floor(side / self.factor) * self.factor)

    def _up(self, side: float) -> int:
        return math.ceil(side / self.factor) * self.factor


def boxes_of(text: str, scale: tuple[float, float] = (GRID, GRID)) -> list[Box]:
    """All boxes that an answer names, in order; empty when there are none.

    Args:
        text: the answer, also one that was cut off.
        scale: what JSON coordinates count up to, (across, down): the grid, or the size the model saw.
    """
    tagged = list(_tagged(text))
    if tagged:
        return tagged
    found = [box for item in _objects(text) for box in _json_boxes(item, scale)]
    return found or list(_untagged(text))


def scale_of(entry: ModelEntry | None, size: tuple[int, int]) -> tuple[float, float]:
    """What a model's JSON coordinates count up to, (across, down), for a picture that is kept at this size."""
    if entry is None or convention_of(entry) == "grid":
        return (GRID, GRID)
    return resizing_of(entry).size(fitted(size, MODEL_SIDE))  # models get no picture larger than that


def convention_of(entry: ModelEntry) -> Convention:
    """How a model writes JSON boxes. Only Qwen2.5-VL and what is built on it count pixels."""
    model_type = str(_json_file(entry, "config.json").get("model_type", ""))
    name = f"{entry.id} {entry.name} {model_type}".lower()
    return "pixels" if re.search(r"qwen2[._]5[-_]?vl", name) else "grid"


def resizing_of(entry: ModelEntry) -> Resizing:
    """The bounds that a model's own files set for pictures, else Qwen's defaults; of a .gguf its vision tower's."""
    if entry.is_gguf:
        return _resizing_of_tower(entry)
    values = _json_file(entry, "preprocessor_config.json") or _json_file(entry, "processor_config.json")
    values = values.get("image_processor", values)
    size = values.get("size") or {}
    default = Resizing()
    factor = int(values.get("patch_size", 14)) * int(values.get("merge_size", 2))
    low = values.get("min_pixels") or size.get("shortest_edge") or default.min_pixels
    high = values.get("max_pixels") or size.get("longest_edge") or default.max_pixels
    return Resizing(factor, int(low), int(high))


def _resizing_of_tower(entry: ModelEntry) -> Resizing:
    """llama.cpp's bounds: the mmproj's own, else 8 to 4096 tokens of 2x2 patches (clip.cpp, for Qwen's)."""
    path = where(entry)
    tower = mmproj_of(entry, path) if path is not None else None
    values: Mapping[str, Any] = {}
    if tower is not None:
        with contextlib.suppress(CorruptModel, UnsupportedModel):
            values = read_header(tower).metadata
    factor = 2 * int(values.get("clip.vision.patch_size", 14))
    low = values.get("clip.vision.image_min_pixels") or 8 * factor * factor
    high = values.get("clip.vision.image_max_pixels") or 4096 * factor * factor
    return Resizing(factor, int(low), int(high))


def _json_file(entry: ModelEntry, name: str) -> Mapping[str, Any]:
    folder = where(entry)
    if folder is None or not (folder / name).is_file():
        return {}
    try:
        values = read_json(folder / name)
    except CorruptModel:
        return {}
    return values if isinstance(values, dict) else {}


def _tagged(text: str) -> Iterator[Box]:
    label = ""
    for match in _TAGS.finditer(text):
        if match["label"] is not None:
            label = match["label"].strip()
        elif match["list"] is not None:
            for corners in _fours(_value(match["list"])):
                yield _box(label, corners, (GRID, GRID))
        else:
            x1, y1, x2, y2 = (float(value) for value in match.group(2, 3, 4, 5))
            yield _box(label, (x1, y1, x2, y2), (GRID, GRID))


def _untagged(text: str) -> Iterator[Box]:
    """`a cat(120,340),(560,780)`: Qwen2-VL through a program that drops special tags."""
    for match in _UNTAGGED.finditer(text):
        x1, y1, x2, y2 = (float(value) for value in match.group(2, 3, 4, 5))
        if max(x1, y1, x2, y2) <= GRID:
            yield _box(match["label"].strip(" :,;.-"), (x1, y1, x2, y2), (GRID, GRID))


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The objects in an answer, each by itself, the outermost first; one that was cut off gives those inside of it."""
    position = text.find("{")
    last = text.rfind("}")
    for _ in range(_MOST_OBJECTS):
        if not 0 <= position < last:
            return
        value, end = _object_at(text, position)
        if value is not None:
            yield from _with_boxes(value)
        position = text.find("{", end)


def _object_at(text: str, position: int) -> tuple[Any, int]:
    """The object that begins at a brace and where it ends; None and the next place where none does."""
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError):
        end = text.find("}", position) + 1
        value = _value(text[position:end]) if 0 < end - position <= _LONGEST_LITERAL else None
    return (value, end) if value is not None else (None, position + 1)


def _value(text: str) -> Any:
    """JSON, or the same with Python's quotes; None for what is neither."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _with_boxes(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects that name places, wherever they stand in a value."""
    rest = [value]
    while rest:
        found = rest.pop(0)
        if isinstance(found, dict):
            if any(name in found for name in (*_BOXES, *_TALL_BOXES, *_POINTS)):
                yield found
            else:
                rest += found.values()
        elif isinstance(found, list):
            rest += found


def _json_boxes(item: Mapping[str, Any], scale: tuple[float, float]) -> Iterator[Box]:
    label = next((str(item[key]) for key in _LABELS if item.get(key)), "")
    for name in _BOXES:
        for corners in _fours(item.get(name)):
            yield _box(label, corners, scale)
    for name in _TALL_BOXES:
        for top, left, bottom, right in _fours(item.get(name)):
            yield _box(label, (left, top, right, bottom), (GRID, GRID))
    for name in _POINTS:
        for x, y in _numbers(item.get(name), 2):
            half_x, half_y = POINT_SIDE / 2 * scale[0], POINT_SIDE / 2 * scale[1]
            yield _box(label, (x - half_x, y - half_y, x + half_x, y + half_y), scale)


def _fours(value: Any) -> Iterator[tuple[float, float, float, float]]:
    yield from ((x1, y1, x2, y2) for x1, y1, x2, y2 in _numbers(value, 4))


def _numbers(value: Any, count: int) -> Iterator[list[float]]:
    """Groups of so many finite numbers: one, or a list of them; numbers may stand in quotes."""
    if not isinstance(value, (list, tuple)):
        return
    if value and all(isinstance(item, (list, tuple)) for item in value):
        for item in value:
            yield from _numbers(item, count)
        return
    try:
        numbers = [float(item) for item in value if not isinstance(item, bool)]
    except (TypeError, ValueError):
        return
    if len(numbers) == len(value) == count and all(map(math.isfinite, numbers)):
        yield numbers


def _box(label: str, corners: tuple[float, float, float, float], scale: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = corners
    across = sorted(min(1.0, max(0.0, x / scale[0])) for x in (x1, x2))
    down = sorted(min(1.0, max(0.0, y / scale[1])) for y in (y1, y2))
    return Box(label, across[0], down[0], across[1], down[1])
