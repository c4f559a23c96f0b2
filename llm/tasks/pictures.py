"""Pictures as the jobs take them: from a file, its bytes or an array; upright, on white, 8 bits, at their full size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from llm.errors import NotFound
from llm.messages import ImagePart
from llm.vision.picture import open_kept

PictureSource: TypeAlias = Any
"""A path, a file's bytes, an `ImagePart`, a `PIL.Image` or an array of shape (h, w), (h, w, 3) or (h, w, 4)."""


def read_picture(source: PictureSource, name: str = "") -> Any:
    """An RGB `PIL.Image`, turned as its camera was held; every job works on this one, and draws on it.

    Raises:
        EmptyPicture, NotAPicture, PictureTooLarge, DamagedPicture: see `llm.vision.picture.take_in`.
        NotFound: there is no such file.
    """
    if isinstance(source, ImagePart):
        return open_kept(source)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise NotFound(what="file", id=str(source))
        return open_kept(ImagePart(path.read_bytes(), "", name or path.name))
    if isinstance(source, (bytes, bytearray)):
        return open_kept(ImagePart(bytes(source), "", name))
    return open_kept(ImagePart(_as_png(source), "", name))


def _as_png(source: Any) -> bytes:
    """What is in memory as a file, so that it is read by the same rules: alpha, 16 bits, orientation."""
    from PIL import Image

    image = source if hasattr(source, "save") else Image.fromarray(np.asarray(source))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = image.convert("RGB")
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=0, exif=image.getexif())
    return stream.getvalue()


def normalised(image: Any, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """A picture squeezed to (width, height), as `to_planes`."""
    from PIL import Image

    resized = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return to_planes(resized, mean, std)


def to_planes(image: Any, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """A picture as it is, as float32 of shape (1, 3, height, width): (share of white - mean) / std."""
    shares = np.asarray(image, np.float32) / 255
    planes = ((shares - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None], np.float32)


def middle(image: Any, side: int, share: float) -> Any:
    """The square in the middle, `share` of the shorter side long, resized to `side` pixels."""
    from PIL import Image

    length = max(1, round(min(image.size) * share))
    left, top = (image.width - length) // 2, (image.height - length) // 2
    box = (left, top, left + length, top + length)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask of shape (h, w), bool or of shares, stretched to (width, height) of the picture: shape (height, width)."""
    from PIL import Image

    if mask.shape == size[::-1]:
        return mask
    if mask.dtype == bool:
        grey = Image.fromarray(mask.astype(np.uint8) * 255)
        return np.asarray(grey.resize(size, Image.Resampling.NEAREST)) > 127
    grey = Image.fromarray(np.asarray(mask, np.float32))
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR))
