"""Qwen-VL-Chat and Qwen-VL-Chat-Int4: Qwen's conversation with pictures and boxes in it.

Later Qwen-VLs (2 on) have this family's name too; they bring a chat template and follow it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image

from llm.errors import UnsupportedContent
from llm.families.qwen import QwenFamily
from llm.families.qwen_tokenizer import IMAGE_TAGS, TEXT_TAGS, QwenTokenizer
from llm.families.rounds import control
from llm.families.template import part_text
from llm.messages import BoxPart, ImagePart, Message, Part, RefPart
from llm.prompt import Span

# CLIP's colour statistics (openai/CLIP), red, green, blue.
_MEAN = numpy.array((0.48145466, 0.4578275, 0.40821073), dtype=numpy.float32)[:, None, None]
_DEVIATION = numpy.array((0.26862954, 0.26130258, 0.27577711), dtype=numpy.float32)[:, None, None]


class QwenVLTokenizer(QwenTokenizer):
    """Qwen's vocabulary with tags for pictures and boxes.

    Args:
        image_size: side of the square to which pictures are brought, in pixels.
        picture_label: what stands before a picture, with its number as `{}`; the two published
            repositories differ by a blank.
    """

    takes_pictures = True

    def __init__(self, path: Path, image_size: int, picture_label: str, **kwargs: Any) -> None:
        super().__init__(path, TEXT_TAGS + IMAGE_TAGS, **kwargs)
        self.image_size = image_size
        self.picture_label = picture_label

    def inputs(self, spans: Sequence[Span]) -> dict[str, Any]:
        """`pixel_values` (pictures, 3, size, size) of a prompt; nothing without pictures."""
        pictures = [pixels(span.image, self.image_size) for span in spans if span.image is not None]
        return {"pixel_values": numpy.stack(pictures)} if pictures else {}


@dataclass(frozen=True)
class QwenVLFamily(QwenFamily):
    """`from_list_format` of tokenization_qwen.py: pictures are numbered within their message."""

    name: str = "qwen-vl"

    def content(self, message: Message, tokenizer: QwenTokenizer) -> list[Span]:
        if not isinstance(tokenizer, QwenVLTokenizer):
            return super().content(message, tokenizer)
        spans: list[Span] = []
        text, number = "", 0
        for piece in _pieces(message.parts):
            if isinstance(piece, str):
                text += piece
                continue
            if piece.image is not None:
                number += 1
                text += tokenizer.picture_label.format(number)
            # All text between two tags is one stretch, tokenised as one.
            spans += [Span(text, message.role), piece] if text else [piece]
            text = "\n" if piece.image is not None else ""
        return [*spans, Span(text, message.role)] if text else spans


def pixels(picture: ImagePart, size: int) -> NDArray[numpy.float32]:
    """A picture as the network wants it: RGB, a square whatever it was, CLIP's colours; float32 (3, size, size).

    Raises:
        UnsupportedContent: the bytes are no picture.
    """
    try:
        image = Image.open(io.BytesIO(picture.data)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnsupportedContent(model="Qwen-VL", content="this picture", accepted="PNG, JPEG, WebP") from error
    values = numpy.asarray(image, dtype=numpy.float32).transpose(2, 0, 1) / numpy.float32(255)
    return (values - _MEAN) / _DEVIATION


def _pieces(parts: Sequence[Part]) -> Iterator[Span | str]:
    """Tags and pictures as spans, words as text."""
    for part in parts:
        match part:
            case ImagePart():
                yield Span("<img></img>", "image", part)
            case RefPart():
                yield control("<ref>")
                yield part.text
                yield control("</ref>")
            case BoxPart():
                yield control("<box>")
                yield f"({part.x1},{part.y1}),({part.x2},{part.y2})"
                yield control("</box>")
            case _:
                yield part_text(part) or ""


def load_tokenizer(folder: Path, config: Mapping[str, Any], **kwargs: Any) -> QwenVLTokenizer:
    """The tokenizer of a Qwen-VL folder."""
    label = "Picture {}:" if config.get("quantization_config") else "Picture {}: "
    return QwenVLTokenizer(folder / "qwen.tiktoken", config["visual"]["image_size"], label, **kwargs)


family = QwenVLFamily()
