"""Whatever people upload is taken in as a plain picture, or refused with a reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy
import pytest
from PIL import Image

from llm.errors import DamagedPicture, EmptyPicture, NotAPicture, PictureTooLarge
from llm.messages import ImagePart
from llm.vision.picture import EXTENSIONS, KEPT_SIDE, MODEL_SIDE, crop, for_model, open_kept, take_in, thumbnail

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


def pixel(part: ImagePart, x: int, y: int) -> tuple[int, ...]:
    return open_kept(part).getpixel((x, y))


def near(seen: tuple[int, ...], wanted: tuple[int, ...], by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(seen, wanted, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_common_kinds_keep_size_and_colours(kind: str) -> None:
    picture = take_in(encoded(halves(), kind), "halves")
    assert picture.size == picture.original_size == picture.model_size == (40, 20)
    assert near(pixel(picture.part, 5, 10), (255, 0, 0), 40) and near(pixel(picture.part, 35, 10), (0, 0, 255), 40)


def test_a_plain_file_stays_byte_for_byte() -> None:
    data = encoded(halves(), "PNG")
    assert take_in(data, "halves.png").part == ImagePart(data, "image/png", "halves.png")


@pytest.mark.parametrize("orientation, corner", [(3, (0, 0, 255)), (6, (255, 0, 0)), (8, (0, 0, 255))])
def test_exif_orientation_is_honoured_and_metadata_dropped(orientation: int, corner: tuple[int, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    picture = take_in(encoded(halves(), "JPEG", exif=exif, quality=95), "turned.jpg")
    size = (40, 20) if orientation == 3 else (20, 40)
    assert picture.size == picture.original_size == size
    assert near(pixel(picture.part, 2, 2), corner, 40)
    assert not Image.open(io.BytesIO(picture.part.data)).getexif()
    assert for_model(picture.part).size == size


def test_cmyk_becomes_the_same_colours() -> None:
    picture = take_in(encoded(halves().convert("CMYK"), "JPEG", quality=95), "print.jpg")
    assert near(pixel(picture.part, 5, 10), (255, 0, 0), 40) and near(pixel(picture.part, 35, 10), (0, 0, 255), 40)


def test_sixteen_bits_keep_their_shades() -> None:
    ramp = numpy.linspace(0, 65535, 256).astype(numpy.uint16)[None].repeat(4, 0)
    picture = take_in(encoded(Image.fromarray(ramp), "PNG"), "scan.png")
    shades = [pixel(picture.part, x, 1)[0] for x in (0, 64, 128, 255)]
    assert shades == [0, 64, 128, 255]


def test_palette_with_alpha_lies_on_white() -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([255, 0, 0, 0, 0, 255, *[0] * 762])
    image.paste(0, (0, 0, 5, 10))
    picture = take_in(encoded(image, "PNG", transparency=0), "sticker.png")
    assert pixel(picture.part, 2, 5) == (255, 255, 255) and pixel(picture.part, 8, 5) == (0, 0, 255)


def test_half_transparent_lies_on_white() -> None:
    picture = take_in(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"), "shade.png")
    assert near(pixel(picture.part, 4, 4), (127, 127, 127), 2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame_and_says_so(kind: str) -> None:
    frames = [Image.new("RGB", (12, 12), shade) for shade in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    picture = take_in(data, "dance")
    assert picture.frames == 3
    assert near(pixel(picture.part, 6, 6), (255, 0, 0), 30)
    assert getattr(Image.open(io.BytesIO(picture.part.data)), "n_frames", 1) == 1


def test_heic_is_read() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    picture = take_in(encoded(halves((128, 64)), "HEIF", quality=95), "IMG_1.HEIC")
    assert picture.size == (128, 64) and picture.part.media_type == "image/jpeg"
    assert near(pixel(picture.part, 20, 30), (255, 0, 0), 40)


def test_large_photos_are_made_smaller_and_the_sizes_said() -> None:
    picture = take_in(encoded(Image.new("RGB", (6000, 3000), "green"), "JPEG"), "photo.jpg")
    assert picture.original_size == (6000, 3000)
    assert picture.size == (KEPT_SIDE, KEPT_SIDE // 2) and picture.model_size == (MODEL_SIDE, MODEL_SIDE // 2)
    assert open_kept(picture.part).size == picture.size
    assert for_model(picture.part).size == picture.model_size


def test_a_hundred_megapixels_are_taken() -> None:
    picture = take_in(encoded(Image.new("L", (12_000, 8_400), 90), "JPEG", quality=50), "pan.jpg")
    assert picture.original_size == (12_000, 8_400) and max(picture.size) == KEPT_SIDE


def bomb(side: int) -> bytes:
    """A PNG whose header promises `side` squared pixels and whose data are few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [11_500, 12_500, 60_000])
def test_decompression_bombs_are_refused_by_their_header(side: int) -> None:
    with pytest.raises(PictureTooLarge):
        take_in(bomb(side), "bomb.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_cut_short_is_refused_never_shown_in_part(kind: str, share: float) -> None:
    whole = encoded(Image.effect_noise((200, 200), 60).convert("RGB"), kind)
    with pytest.raises((DamagedPicture, NotAPicture)):
        take_in(whole[: int(len(whole) * share)], "half")


def test_damaged_bytes_never_escape_as_another_error() -> None:
    source = numpy.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = encoded(Image.effect_noise((60, 60), 60).convert("RGB"), kind)
        for _ in range(60):
            data = bytearray(whole)
            for place in source.integers(0, len(data), 8):
                data[place] = int(source.integers(0, 256))
            try:
                take_in(bytes(data), "broken")
            except (DamagedPicture, NotAPicture, PictureTooLarge):
                continue


@pytest.mark.parametrize(
    "data, kind", [(SVG, "svg"), (b"<!DOCTYPE html><html></html>", "html"), (b"%PDF-1.7", "other"), (b"x", "other")]
)
def test_what_is_no_picture_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(NotAPicture) as caught:
        take_in(data, "file")
    assert caught.value.values["kind"] == kind


def test_nothing_is_empty() -> None:
    with pytest.raises(EmptyPicture):
        take_in(b"", "nothing.png")


def test_the_name_is_not_believed(tmp_path: Path) -> None:
    assert take_in(encoded(halves(), "PNG"), "holiday.jpg").part.media_type == "image/png"


def test_crop_and_thumbnail() -> None:
    part = take_in(encoded(halves((400, 200)), "PNG"), "halves.png").part
    right = crop(part, (300, 50, 380, 150))
    assert open_kept(right).size == (80, 100) and pixel(right, 10, 10) == (0, 0, 255)
    assert open_kept(crop(part, (390, 190, 900, 900))).size == (10, 10)
    assert Image.open(io.BytesIO(thumbnail(part, 100))).size == (100, 50)


def test_twelve_bits_in_sixteen_are_as_bright_as_they_were() -> None:
    data = (Path(__file__).with_name("cases") / "twelve_bit_in_16.tif").read_bytes()
    grey = open_kept(take_in(data, "scan.tif").part).convert("L")
    assert max(grey.getdata()) > 200


def test_a_jpeg_by_its_other_name_may_be_chosen() -> None:
    assert "jfif" in EXTENSIONS


def of_one_colour(side: int, kind: int, channels: int) -> bytes:
    """A PNG of `side` squared pixels in some hundred kilobytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header, row = struct.pack(">IIBBBBB", side, side, 8, kind, 0, 0, 0), bytes(1 + side * channels)
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_small_files_of_many_pixels_take_little_memory_however_many_come(tmp_path: Path) -> None:
    """What four of them at once take in a process of its own: one unpacked picture (476 MB) and what is made of it."""
    (tmp_path / "big.png").write_bytes(of_one_colour(10_900, 6, 4))
    program = (
        "import re, sys, threading\n"
        "from llm.vision.picture import take_in\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "threads = [threading.Thread(target=take_in, args=(data, 'x')) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"  # rusage knows the parent's, too
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "big.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(ran.stdout) < 1_000 << 10


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_what_is_made_smaller_row_by_row_looks_the_same(mode: str) -> None:
    source = Image.linear_gradient("L").resize((9_000, 9_000)).convert("RGB")
    big = source.convert("L").convert(mode) if mode in ("L", "LA") else source.convert(mode)
    picture = take_in(encoded(big, "PNG", compress_level=1), "gradient.png")
    kept = open_kept(picture.part)
    assert picture.size == kept.size == (KEPT_SIDE, KEPT_SIDE)
    for x, y in ((10, 10), (2_000, 1_000), (4_000, 4_090)):
        place = (x * 9_000 // KEPT_SIDE, y * 9_000 // KEPT_SIDE)
        assert near(kept.getpixel((x, y)), source.getpixel(place), 6)


def test_long_screenshots_keep_their_pixels_and_thin_pictures_are_given_to_models() -> None:
    long = take_in(encoded(Image.new("RGB", (1_080, 12_000), "white"), "PNG"), "chat.png")
    assert long.size == (1_080, 12_000) and max(long.model_size) == MODEL_SIDE
    for size in ((4_096, 1), (1, 4_096), (20, 20_000), (60_000, 3), (1, 1)):
        given = for_model(take_in(encoded(Image.new("RGB", size, "red"), "PNG"), "thin.png").part)
        assert max(given.size) <= MODEL_SIDE and max(given.size) <= 100 * min(given.size)
        assert given.getpixel((0, 0)) == (255, 0, 0)
