"""Uploaded pictures, checked before anything else touches them.

What is kept is upright, 8 bits a channel, without transparency or metadata (a photo tells where it was
taken), and at most `KEPT_SIDE` long, a long screenshot as many pixels. What a model is given is at most
`MODEL_SIDE` long.
"""

from __future__ import annotations

import io
import math
import re
import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llm.errors import DamagedPicture, EmptyPicture, MissingPackage, ModelError, NotAPicture, PictureTooLarge
from llm.messages import ImagePart

MAX_BYTES = 64 << 20
MAX_PIXELS = 120_000_000
"""A picture of more pixels than this is refused by what its header says, before it is unpacked."""
KEPT_SIDE = 4096
LONGEST_KEPT_SIDE = 32_768
"""Of a long screenshot, which keeps as many pixels as others and so stays legible."""
LONG = 2.5
"""From this proportion on a picture counts as long."""
MODEL_SIDE = 2048
THINNEST = 100
"""A picture of another proportion than 1 to this gets white beside it: models refuse thinner ones."""
# Only decoders that are well kept; Pillow has others, some of which call programs (EPS) or are rarely looked at.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
EXTENSIONS = ["png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif"]
_ORIENTATION = 0x0112
_ONE_AT_A_TIME = threading.Lock()
"""A picture of 14 kB can unpack to a gigabyte; several at once would take as many."""
_STRIP_PIXELS = 4 << 20
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"^\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was taken in. Sizes are (width, height) in pixels.

    part: what is kept. size: of what is kept. original_size: as it came, upright. model_size: what a model
    is given. frames: how many an animation had, of which the first is taken.
    """

    part: ImagePart
    size: tuple[int, int]
    original_size: tuple[int, int]
    model_size: tuple[int, int]
    frames: int = 1


def take_in(data: bytes, name: str) -> Picture:
    """Reads an uploaded picture.

    Raises:
        EmptyPicture: there are no bytes.
        NotAPicture: it is something else, or a kind that is not read (SVG).
        PictureTooLarge: in bytes or in pixels.
        DamagedPicture: cut short or broken.
        MissingPackage: HEIC without pillow-heif.
    """
    with _ONE_AT_A_TIME:
        return _taken_in(data, name)


def _taken_in(data: bytes, name: str) -> Picture:
    image = _opened(data, name)
    frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
    width, height = image.size
    turned = _orientation(image) in (5, 6, 7, 8)
    original = (height, width) if turned else (width, height)
    if _can_stay(image, frames):
        _unpacked(image, name)
        part = ImagePart(data, f"image/{(image.format or '').lower()}", name)
        return Picture(part, original, original, fitted(original, MODEL_SIDE))
    photo = image.format in ("JPEG", "MPO", "HEIF")
    if image.format == "JPEG":
        image.draft(None, kept_size((width, height)))  # decodes at a half, a quarter or an eighth
    plain = _plain(_reduced(_unpacked(image, name)))
    size = kept_size(original)
    if size != plain.size:
        plain = plain.resize(size, reducing_gap=3.0)
    return Picture(_encoded(plain, name, photo), size, original, fitted(size, MODEL_SIDE), frames)


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with the same proportions whose longer side is at most `side`."""
    longest = max(size)
    if longest <= side:
        return size
    return max(1, round(size[0] * side / longest)), max(1, round(size[1] * side / longest))


def kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size in which a picture is kept: at most `KEPT_SIDE` long, or as many pixels when it is narrow."""
    if max(size) < LONG * min(size):
        return fitted(size, KEPT_SIDE)
    longest = math.sqrt(KEPT_SIDE**2 * max(size) / min(size))
    return fitted(size, min(LONGEST_KEPT_SIDE, int(longest)))


def open_kept(part: ImagePart) -> Any:
    """A kept picture as an upright RGB `PIL.Image`. Also takes parts that came another way (API, import).

    Raises: as `take_in`.
    """
    with _ONE_AT_A_TIME:
        return _plain(_reduced(_unpacked(_opened(part.data, part.name or "the picture"), part.name)))


@lru_cache(maxsize=32)
def problem_of(part: ImagePart) -> ModelError | None:
    """Why a kept picture cannot be shown; None when it can. An imported conversation may hold anything."""
    try:
        open_kept(part)
    except ModelError as error:
        return error
    return None


def for_model(part: ImagePart) -> Any:
    """The picture as models get it: upright, RGB, at most `MODEL_SIDE` long, not too thin. Raises as `take_in`."""
    from PIL import Image

    image = open_kept(part)
    size = fitted(image.size, MODEL_SIDE)
    image = image if size == image.size else image.resize(size, reducing_gap=3.0)
    least = -(-max(size) // THINNEST)
    if min(size) >= least:
        return image
    paper = Image.new("RGB", (max(size[0], least), max(size[1], least)), "white")
    paper.paste(image, (0, 0))
    return paper


def crop(part: ImagePart, box: tuple[int, int, int, int]) -> ImagePart:
    """The rectangle (left, top, right, bottom), in pixels, of a kept picture, as a PNG; at least one pixel."""
    image = open_kept(part)
    left, top = min(max(0, box[0]), image.width - 1), min(max(0, box[1]), image.height - 1)
    right, bottom = max(left + 1, min(box[2], image.width)), max(top + 1, min(box[3], image.height))
    return _encoded(image.crop((left, top, right, bottom)), part.name, photo=False)


def thumbnail(part: ImagePart, side: int = 320) -> bytes:
    """A small JPEG of a kept picture."""
    image = open_kept(part)
    return _encoded(image.resize(fitted(image.size, side), reducing_gap=2.0), "", photo=True).data


def _opened(data: bytes, name: str) -> Any:
    """An image whose header has been read and looks harmless; its pixels are still packed."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise EmptyPicture(name=name)
    if len(data) > MAX_BYTES:
        raise PictureTooLarge(name=name, size=f"{len(data) >> 20} MB", limit=f"{MAX_BYTES >> 20} MB")
    formats: tuple[str, ...] = FORMATS
    Image.init()
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        _register_heif()
        formats = (*FORMATS, "HEIF")
    try:
        image = Image.open(io.BytesIO(data), formats=[kind for kind in formats if kind in Image.OPEN])
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(name=name, size=_megapixels(0), limit=_megapixels(MAX_PIXELS)) from error
    except UnidentifiedImageError as error:
        raise NotAPicture(name=name, kind=_kind(data)) from error
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, EOFError) as error:
        raise DamagedPicture(name=name, detail=str(error)) from error
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(name=name, size=_megapixels(width * height), limit=_megapixels(MAX_PIXELS))
    if not width or not height:
        raise DamagedPicture(name=name, detail="it has no pixels")
    return image


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingPackage(package="pillow-heif") from error
    pillow_heif.register_heif_opener()


def _kind(data: bytes) -> str:
    """What something is that is no picture, as far as its first bytes tell: svg, html or other."""
    head = data[:4096]
    if _HTML.search(head):
        return "html"
    return "svg" if _SVG.search(head) else "other"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} megapixels" if pixels else "far too many pixels"


def _unpacked(image: Any, name: str) -> Any:
    from PIL import Image

    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(name=name, size=_megapixels(0), limit=_megapixels(MAX_PIXELS)) from error
    # Decoders answer damage with errors of many kinds.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, struct.error, zlib.error) as error:
        raise DamagedPicture(name=name, detail=str(error)) from error
    return image


def _orientation(image: Any) -> int:
    """EXIF's orientation, 1 where there is none or the metadata is broken."""
    try:
        return int(_metadata(image).get(_ORIENTATION, 1))
    except (ValueError, TypeError):
        return 1


def _metadata(image: Any) -> Mapping[int, Any]:
    """EXIF's entries; none where they cannot be read."""
    try:
        return dict(image.getexif())
    except (ValueError, TypeError, OSError, SyntaxError, EOFError, struct.error):
        return {}


def _can_stay(image: Any, frames: int) -> bool:
    """Whether the file is already what would be made of it."""
    return (
        image.format in ("PNG", "JPEG", "WEBP")
        and frames == 1
        and image.mode in ("RGB", "L")
        and "transparency" not in image.info
        and not _metadata(image)
        and image.size == kept_size(image.size)
    )


def _reduced(image: Any) -> Any:
    """A far too large picture at a half, a third ... of its size, before anything is made of all its pixels.

    Row by row, so that no second copy of it is held: a file of 14 kB can unpack to 480 MB.
    """
    from PIL import Image

    factor = int(min(own / kept for own, kept in zip(image.size, kept_size(image.size), strict=True)))
    if factor < 2 or image.mode.startswith(("I", "F")):
        return image
    width, height = image.size
    rows = factor * max(1, _STRIP_PIXELS // (width * factor))
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    orientation = _orientation(image)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        strip.info.update(image.info)
        small.paste(_plain(strip).reduce(factor), (0, top // factor))
    if orientation != 1:
        small.getexif()[_ORIENTATION] = orientation
    return small


def _plain(image: Any) -> Any:
    """Upright, RGB, transparent parts white."""
    from PIL import Image, ImageOps

    turned = _orientation(image) != 1
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if turned:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Any) -> Any:
    """Grey of 16 or more bits as 8: Pillow's own conversion would cut off everything above 255."""
    import numpy
    from PIL import Image

    values: Any = numpy.asarray(image).astype(numpy.float32)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("F") or high > 65535 or low < 0:
        values -= low
        values *= 255 / max(high - low, 1e-9)
    elif high > 255 or image.mode.startswith("I;16"):
        # Cameras and scanners of 10, 12 or 14 bits write them into the lower ones of 16.
        depth = next((bits for bits in (10, 12, 14) if high < 2**bits), 16)
        values *= 255 / (2**depth - 1)
    grey = Image.fromarray(numpy.rint(values, out=values).astype(numpy.uint8))
    if _orientation(image) != 1:
        grey.getexif()[_ORIENTATION] = _orientation(image)
    return grey


def _encoded(image: Any, name: str, photo: bool) -> ImagePart:
    stream = io.BytesIO()
    if photo:
        image.save(stream, "JPEG", quality=92)
        return ImagePart(stream.getvalue(), "image/jpeg", name)
    image.save(stream, "PNG", compress_level=3)
    return ImagePart(stream.getvalue(), "image/png", name)
