"""Pictures are upright, on white and of 8 bits whichever way they come, and keep their size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm.errors import EmptyPicture, NotAPicture, NotFound
from llm.tasks.pictures import middle, read_picture, resized_mask


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_camera_held_sideways_is_turned_once(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    data = _file(Image.new("RGB", (40, 20), "red"), "JPEG", exif=tags)
    (tmp_path / "a.jpg").write_bytes(data)
    sizes = {read_picture(source).size for source in (data, tmp_path / "a.jpg", Image.open(io.BytesIO(data)))}
    assert sizes == {(20, 40)}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert("LA" if mode == "LA" else "RGBA")
    data = _file(image.quantize() if mode == "P" else image, "PNG")
    assert np.asarray(read_picture(data)).min() == 255


@pytest.mark.parametrize("as_array", [True, False])
def test_sixteen_bits_are_scaled_rather_than_cut(as_array: bool) -> None:
    values = (np.arange(16, dtype=np.uint16) * 4096).reshape(4, 4)
    source = values if as_array else _file(Image.fromarray(values), "PNG")
    grey = np.asarray(read_picture(source))[..., 0].ravel()
    assert (np.diff(grey.astype(int)) > 10).all() and grey[0] == 0 and grey[-1] == 239


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_arrays_of_any_channels_are_taken(shape: tuple[int, ...]) -> None:
    image = read_picture(np.full(shape, 200, np.uint8))
    assert image.mode == "RGB" and image.size == (7, 5)


def test_what_is_no_picture_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(EmptyPicture):
        read_picture(b"", "a.png")
    with pytest.raises(NotAPicture, match=r"b\.png"):
        read_picture(b"words, words", "b.png")
    with pytest.raises(NotFound, match="nowhere"):
        read_picture(tmp_path / "nowhere.png")


def test_one_pixel_can_be_cut_out_of_and_masked() -> None:
    dot = read_picture(np.zeros((1, 1, 3), np.uint8))
    assert middle(dot, 224, 0.875).size == (224, 224)
    assert resized_mask(np.ones((32, 32), bool), dot.size).shape == (1, 1)


def test_a_mask_lies_where_it_lay_after_it_was_stretched() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:, 5:] = True
    stretched = resized_mask(mask, (301, 199))
    assert stretched.shape == (199, 301) and not stretched[:, :145].any() and stretched[:, 156:].all()
