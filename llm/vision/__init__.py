"""Pictures: taken in safely, fetched safely, and what is found in them drawn.

picture = take_in(data, "photo.heic")       # upright, 8-bit, no larger than needed; or a clear refusal
data, name = fetch("https://...")           # never from an address of this network
found = boxes_of(answer, convention)        # what a model says stands where
draw(picture.part, found)                   # the picture with them on it
"""

from __future__ import annotations

from llm.vision.boxes import Box, boxes_of, convention_of
from llm.vision.picture import Picture, for_model, open_kept, take_in

__all__ = ["Box", "Picture", "boxes_of", "convention_of", "for_model", "open_kept", "take_in"]
