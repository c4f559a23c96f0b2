"""Grounding: what models say stands where in a picture, in the three ways that the Qwen-VL line writes it.

* Qwen-VL and Qwen2-VL: `<ref>a cat</ref><box>(x1,y1),(x2,y2)</box>` on a grid from 0 to 1000 (QwenLM/Qwen-VL,
  TUTORIAL.md); Qwen2-VL's tags are `<|object_ref_start|>` ... `<|box_end|>`.
* Qwen2.5-VL: JSON objects with `bbox_2d` in pixels of the picture as its processor resized it.
* Qwen3-VL: the same JSON, on a grid from 0 to 1000.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llm.catalogue.checkpoint import read_json
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import where
from llm.errors import CorruptModel

GRID = 1000
Convention: TypeAlias = Literal["grid", "pixels"]
"""How JSON boxes count: on the 0 to 1000 grid, or in pixels of the resized picture. Tags always use the grid."""

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_CORNERS = rf"\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)"
_TAGS = re.compile(
    rf"(?:<ref>|<\|object_ref_start\|>)(?P<label>.*?)(?:</ref>|<\|object_ref_end\|>)"
    rf"|(?:<box>|<\|box_start\|>)\s*{_CORNERS}\s*(?:</box>|<\|box_end\|>)",
    re.DOTALL,
)
_OBJECT = re.compile(r"\{[^{}]*\}")
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
    return tagged or [box for item in _objects(text) if (box := _json_box(item, scale)) is not None]


def convention_of(entry: ModelEntry) -> Convention:
    """How a model writes JSON boxes. Only Qwen2.5-VL and what is built on it count pixels."""
    model_type = str(_json_file(entry, "config.json").get("model_type", ""))
    name = f"{entry.id} {entry.name} {model_type}".lower()
    return "pixels" if re.search(r"qwen2[._]5[-_]?vl", name) else "grid"


def resizing_of(entry: ModelEntry) -> Resizing:
    """The bounds that a model's own files set for pictures, else Qwen's defaults."""
    values = _json_file(entry, "preprocessor_config.json") or _json_file(entry, "processor_config.json")
    values = values.get("image_processor", values)
    size = values.get("size") or {}
    default = Resizing()
    factor = int(values.get("patch_size", 14)) * int(values.get("merge_size", 2))
    low = values.get("min_pixels") or size.get("shortest_edge") or default.min_pixels
    high = values.get("max_pixels") or size.get("longest_edge") or default.max_pixels
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
        if match.group("label") is not None:
            label = match.group("label").strip()
        else:
            x1, y1, x2, y2 = (float(value) for value in match.groups()[1:])
            yield _box(label, (x1, y1, x2, y2), (GRID, GRID))


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in an answer, each by itself: a list that was cut off still gives those that are whole."""
    for match in _OBJECT.finditer(text):
        try:
            value = json.loads(match.group())
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _json_box(item: Mapping[str, Any], scale: tuple[float, float]) -> Box | None:
    corners = item.get("bbox_2d", item.get("bbox"))
    if not isinstance(corners, list) or len(corners) != 4:
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in corners):
        return None
    label = next((str(item[key]) for key in _LABELS if item.get(key)), "")
    return _box(label, tuple(map(float, corners)), scale)  # type: ignore[arg-type]


def _box(label: str, corners: tuple[float, float, float, float], scale: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = corners
    across = sorted(min(1.0, max(0.0, x / scale[0])) for x in (x1, x2))
    down = sorted(min(1.0, max(0.0, y / scale[1])) for y in (y1, y2))
    return Box(label, across[0], down[0], across[1], down[1])
