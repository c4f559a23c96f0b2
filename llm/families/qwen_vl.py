"""Qwen-VL-Chat and Qwen-VL-Chat-Int4: Qwen's conversation with pictures and boxes in it.

Later Qwen-VLs (2 on) have this family's name too; they bring a chat template and follow it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.errors import UnsupportedContent
from llm.families.qwen import QwenFamily
from llm.families.qwen_tokenizer import IMAGE_TAGS, TEXT_TAGS, QwenTokenizer
from llm.families.rounds import control
from llm.families.template import part_text
from llm.messages import BoxPart, ImagePart, Message, Part, RefPart, TextPart
from llm.prompt import Span

# CLIP's colour statistics (openai/CLIP), red, green, blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

_GROUNDING = re.compile(r"<ref>(.*?)</ref>|<box>\((\d+),(\d+)\),\((\d+),(\d+)\)</box>", re.DOTALL)


class QwenVLTokenizer(QwenTokenizer):
    """Qwen's vocabulary with tags for pictures and boxes.

    Args:
        image_size: side of the square to which pictures are brought, in pixels.
        picture_label: what stands before a picture, with its number as `{}`; the two published
            repositories differ by a blank.
    """

    def __init__(self, path: Path, image_size: int, picture_label: str, **kwargs: Any) -> None:
        super().__init__(path, TEXT_TAGS + IMAGE_TAGS, **kwargs)
        self.image_size = image_size
        self.picture_label = picture_label

    def inputs(self, spans: Sequence[Span]) -> dict[str, Any]:
        """`pixel_values` (pictures, 3, size, size) of a prompt; nothing without pictures."""
        import torch

        pictures = [pixels(span.image, self.image_size) for span in spans if span.image is not None]
        return {"pixel_values": torch.stack(pictures)} if pictures else {}


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


def pixels(picture: ImagePart, size: int) -> Any:
    """A picture as the network wants it: RGB, a square whatever it was, CLIP's colours; float32 (3, size, size).

    Raises:
        UnsupportedContent: the bytes are no picture.
    """
    import torch
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(picture.data)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnsupportedContent(model="Qwen-VL", content="this picture", accepted="PNG, JPEG, WebP") from error
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size, 3)
    values = values.permute(2, 0, 1).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def parts_of_answer(text: str) -> tuple[Part, ...]:
    """An answer as parts: what it names (`<ref>`) and where that is (`<box>`); all else is text."""
    parts: list[Part] = []
    position = 0
    for match in _GROUNDING.finditer(text):
        if match.start() > position:
            parts.append(TextPart(text[position : match.start()]))
        reference, *corners = match.groups()
        parts.append(BoxPart(*map(int, corners)) if reference is None else RefPart(reference))
        position = match.end()
    if position < len(text):
        parts.append(TextPart(text[position:]))
    return tuple(parts)


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
