"""What models write about places in pictures, read and drawn."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llm.catalogue.entry import ModelEntry
from llm.messages import ImagePart
from llm.vision.boxes import Box, Resizing, boxes_of, convention_of, resizing_of, scale_of
from llm.vision.draw import COLOURS, colours_of, draw


def test_qwen_vl_tags() -> None:
    answer = "There: <ref> the cat</ref><box>(100,200),(300,400)</box><box>(0,0),(10,10)</box> and <ref>狗</ref>"
    answer += "<box>(500,600),(1000,1000)</box>"
    assert boxes_of(answer) == [
        Box("the cat", 0.1, 0.2, 0.3, 0.4),
        Box("the cat", 0.0, 0.0, 0.01, 0.01),
        Box("狗", 0.5, 0.6, 1.0, 1.0),
    ]


def test_qwen2_vl_tags() -> None:
    answer = "<|object_ref_start|>a car<|object_ref_end|><|box_start|>(250,250),(750,500)<|box_end|>"
    assert boxes_of(answer) == [Box("a car", 0.25, 0.25, 0.75, 0.5)]


def test_json_in_pixels_and_on_the_grid() -> None:
    answer = '```json\n[\n\t{"bbox_2d": [112, 56, 224, 280], "label": "cup"}\n]\n```'
    assert boxes_of(answer, (448, 560)) == [Box("cup", 0.25, 0.1, 0.5, 0.5)]
    assert boxes_of(answer) == [Box("cup", 0.112, 0.056, 0.224, 0.28)]


def test_json_that_was_cut_off_gives_its_whole_objects() -> None:
    answer = '[{"bbox_2d": [0, 0, 500, 500], "text_content": "总计"}, {"bbox_2d": [1, 2'
    assert boxes_of(answer) == [Box("总计", 0, 0, 0.5, 0.5)]


@pytest.mark.parametrize(
    "answer",
    ["", "no boxes", '{"bbox_2d": [1, 2, 3]}', '{"bbox_2d": ["a", 1, 2, 3]}', '{"bbox_2d": [NaN, 1, 2, 3]}', "{x}"],
)
def test_what_is_no_box_is_none(answer: str) -> None:
    assert boxes_of(answer) == []


def test_corners_in_the_wrong_order_or_outside_are_put_right() -> None:
    assert boxes_of("<box>(900,800),(-5,1200)</box>") == [Box("", 0, 0.8, 0.9, 1)]


def test_resizing_is_the_published_one() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for width, height in [(640, 480), (4000, 3000), (30, 40), (28, 2000), (1, 1), (1999, 77)]:
        for resizing in (Resizing(), Resizing(32, 65536, 16777216), Resizing(28, 3136, 12845056)):
            wanted = smart_resize(height, width, resizing.factor, resizing.min_pixels, resizing.max_pixels)
            if wanted[0] and wanted[1]:
                assert resizing.size((width, height)) == (wanted[1], wanted[0])


def folder_entry(folder: Path, model_type: str) -> ModelEntry:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    values = {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return ModelEntry(str(folder), "mine", "image-text-to-text", "qwen2-vl", "transformers", path=folder)


@pytest.mark.parametrize(
    "model_type, convention", [("qwen2_5_vl", "pixels"), ("qwen3_vl", "grid"), ("qwen2_vl", "grid")]
)
def test_the_convention_follows_the_model(tmp_path: Path, model_type: str, convention: str) -> None:
    entry = folder_entry(tmp_path, model_type)
    assert convention_of(entry) == convention
    assert resizing_of(entry) == Resizing(32, 65536, 16777216)


def test_convention_by_catalogue_name() -> None:
    entry = ModelEntry("qwen2.5-vl-3b-instruct", "Qwen2.5-VL 3B", "image-text-to-text", "qwen2-vl", "transformers")
    assert convention_of(entry) == "pixels"


def test_boxes_are_drawn_where_they_should_be() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (600, 300), "white").save(stream, "PNG")
    boxes = [Box("one", 0.1, 0.2, 0.3, 0.8), Box("two", 0.5, 0.5, 0.9, 0.9)]
    drawn = Image.open(io.BytesIO(draw(ImagePart(stream.getvalue()), boxes, labels=False)))
    assert drawn.size == (600, 300)
    for box, shade in zip(boxes, COLOURS, strict=False):
        left, top, right, bottom = box.pixels(drawn.size)
        middle = ((left + right) // 2, (top + bottom) // 2)
        on_line = [(left, middle[1]), (right - 1, middle[1]), (middle[0], top), (middle[0], bottom - 1)]
        assert [drawn.getpixel(place) for place in on_line] == [shade] * 4
        beside = [(left - 1, middle[1]), (right, middle[1]), (middle[0], top - 1), (middle[0], bottom), middle]
        assert [drawn.getpixel(place) for place in beside] == [(255, 255, 255)] * 5


def test_labels_stand_above_and_the_edge_of_the_picture_is_no_trouble() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(stream, "PNG")
    boxes = [Box("杯子 cup", 0.5, 0.5, 0.9, 0.9), Box("x" * 99, 0, 0, 1, 1), Box("", 1, 1, 1, 1)]
    drawn = Image.open(io.BytesIO(draw(ImagePart(stream.getvalue()), boxes)))
    above = drawn.crop((150, 84, 260, 100))
    assert COLOURS[0] in {colour for _, colour in above.getcolors(10_000)}


def test_one_label_many_things_get_many_colours() -> None:
    same = [Box("cup", 0, 0, 1, 1), Box("cup", 0, 0, 1, 1)]
    assert len(set(colours_of(same))) == 2
    assert len(set(colours_of([*same, Box("cat", 0, 0, 1, 1)]))) == 2


ANSWERS = json.loads(Path(__file__).with_name("answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ANSWERS)
def test_boxes_as_models_really_write_them(name: str) -> None:
    found = boxes_of(ANSWERS[name]["text"])
    assert len(found) == ANSWERS[name]["boxes"] and found[0].label == ANSWERS[name]["label"]


@pytest.mark.parametrize(
    ("answer", "boxes"),
    [
        ('{"bbox_2d": ["100", "200", "300", "400"]}', [Box("", 0.1, 0.2, 0.3, 0.4)]),
        ('{"objects": [{"bbox_2d": [0, 0, 500, 500], "label": "a"}]}', [Box("a", 0, 0, 0.5, 0.5)]),
        ('[{"box_2d": [100, 200, 300, 400], "label": "cat"}]', [Box("cat", 0.2, 0.1, 0.4, 0.3)]),
        ("<|begin_of_box|>[[100, 200, 300, 400]]<|end_of_box|>", [Box("", 0.1, 0.2, 0.3, 0.4)]),
        ('{"point_2d": [500, 500], "label": "nose"}', [Box("nose", 0.495, 0.495, 0.505, 0.505)]),
        ("[{'bbox_2d': [0, 0, 10, 10], 'label': 'it\\'s'}, {'bbox_2d': [1, 2", [Box("it's", 0, 0, 0.01, 0.01)]),
        ("Call me (555),(123)", []),
        ("{" * 3000, []),
    ],
)
def test_other_forms(answer: str, boxes: list[Box]) -> None:
    assert [replace(box, **{side: round(getattr(box, side), 6) for side in SIDES}) for box in boxes_of(answer)] == boxes


SIDES = ("left", "top", "right", "bottom")


def test_pixels_of_a_large_photo_count_in_the_picture_that_the_model_got() -> None:
    """A photo of 4000 pixels is handed on with 2048: the model's own resizing begins from there."""
    entry = ModelEntry("qwen2.5-vl-3b-instruct", "Qwen2.5-VL 3B", "image-text-to-text", "qwen2-vl", "transformers")
    seen = Resizing(28, 56 * 56, 28 * 28 * 1280).size((2048, 1536))
    assert scale_of(entry, (4000, 3000)) == seen and scale_of(None, (4000, 3000)) == (1000, 1000)
