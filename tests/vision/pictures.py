"""Pictures that tests ask about."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from llm.messages import ImagePart

ENGLISH = "Invoice 2024-17 Total: 358 EUR"
CHINESE = "会议时间：星期三下午三点"


def bilingual_picture() -> ImagePart:
    """An English line at (30, 30) and a Chinese one at (30, 120), letters 40 pixels high, on 900 x 260 of white."""
    font = ImageFont.truetype("NotoSansCJK-Regular.ttc", 40)
    image = Image.new("RGB", (900, 260), "white")
    canvas = ImageDraw.Draw(image)
    canvas.text((30, 30), ENGLISH, fill="black", font=font)
    canvas.text((30, 120), CHINESE, fill="black", font=font)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return ImagePart(stream.getvalue(), "image/png", "note.png")
