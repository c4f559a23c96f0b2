"""Pictures for llama.cpp: a GGUF beside its vision tower (mmproj), both in the one server.

llama.cpp takes pictures only with its chat requests, as text with places for pictures in it. So the finished prompt
goes as the parts of a single message, through a template that adds nothing. It parses every special tag in that text,
and so what people typed is guarded: a zero-width space after a tag's first character leaves it to be read, and
makes it no tag.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from llm.messages import ImagePart
from llm.prompt import Span
from llm.vision.picture import for_model

IMAGE_TAG = "<image>"
"""How a picture's place reads in a prompt."""
NO_TOKEN = -1
"""llama.cpp's LLAMA_TOKEN_NULL: what stands for a picture's embeddings among token ids."""
GUARD = "\u200b"
REMEMBERED_PICTURES = 16
_PARTS_ONLY = "{% for message in messages %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endfor %}"


def give_eyes(params: Any, mmproj: Path, on_gpu: bool) -> None:
    """Sets xllamacpp's `CommonParams` for a model with a vision tower."""
    params.mmproj.path = str(mmproj)
    params.mmproj_use_gpu = on_gpu
    params.enable_chat_template = True
    params.use_jinja = True
    params.chat_template = _PARTS_ONLY
    params.force_pure_content_parser = True  # thinking and tool calls are cut out of the answer by the family


class Eyes:
    """What the engine needs beside the text of a prompt.

    Args:
        post: sends a body to a route of the server and gives its answer.
        tags: the texts that llama.cpp would parse as control tokens.
        adds_bos: whether the server puts a begin-of-sequence token before each prompt.
    """

    def __init__(
        self, post: Callable[[str, dict[str, Any]], Mapping[str, Any]], tags: Collection[str], adds_bos: bool
    ) -> None:
        self._post = post
        self._adds_bos = adds_bos
        longest_first = sorted((re.escape(tag) for tag in tags if len(tag) > 1), key=len, reverse=True)
        self._tags = re.compile("|".join(longest_first) or r"(?!)")
        self._look = lru_cache(maxsize=REMEMBERED_PICTURES)(self._measure)

    def guarded(self, run: Sequence[Span]) -> list[Span]:
        """Neighbouring plain spans with every tag in their joined text broken, also one that two spans make up."""
        text = "".join(span.text for span in run)
        cuts = [match.start() + 1 for match in self._tags.finditer(text)]
        if not cuts:
            return list(run)
        spans, start = [], 0
        for span in run:
            end = start + len(span.text)
            marks = [start, *(cut for cut in cuts if start < cut <= end), end]
            parts = [text[left:right] for left, right in pairwise(marks)]
            spans.append(replace(span, text=GUARD.join(parts)))
            start = end
        return spans

    def tokens_of(self, picture: ImagePart) -> int:
        """How many tokens of context a picture takes, with the tags that llama.cpp puts around it."""
        return self._look(picture)[1]

    def content(self, spans: Iterable[Span]) -> list[dict[str, Any]]:
        """The prompt as the parts of a chat message: texts, and pictures as data URIs."""
        parts: list[dict[str, Any]] = []
        for span in spans:
            if span.image is not None:
                parts.append(_picture(self._look(span.image)[0]))
            elif parts and parts[-1]["type"] == "text":
                parts[-1]["text"] += span.text
            else:
                parts.append({"type": "text", "text": span.text})
        return parts

    def content_of_ids(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The same for a raw prompt of token ids."""
        return [{"type": "text", "text": self._post("/detokenize", {"tokens": list(ids)})["content"]}]

    def _measure(self, picture: ImagePart) -> tuple[str, int]:
        """A picture's data URI and its number of tokens, as the server counts them."""
        stream = io.BytesIO()
        for_model(picture).save(stream, "PNG", compress_level=1)
        uri = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
        body = {"messages": [{"role": "user", "content": [_picture(uri)]}]}
        count = int(self._post("/v1/chat/completions/input_tokens", body)["input_tokens"])
        return uri, count - self._adds_bos


def _picture(uri: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri}}
