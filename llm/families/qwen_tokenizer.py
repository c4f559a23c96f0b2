"""Qwen's first vocabulary: `qwen.tiktoken`, byte pair ranks as OpenAI's tiktoken reads them."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm.errors import CorruptModel
from llm.families.base import SpanTokenizer
from llm.prompt import Span

# tokenization_qwen.py: how text is cut before pairs are merged, and the tags after the ranks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXT_TAGS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
IMAGE_TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>")
IMAGE_TOKENS = 256
"""Places of one picture between `<img>` and `</img>`."""


class QwenTokenizer(SpanTokenizer):
    """See `llm.families.base.SpanTokenizer`. Each span of text is tokenised by itself, as `make_context` does.

    Args:
        path: the ranks, one base64 word and its number a line.
        tags: what stands after the ranks, in order.
        max_window_tokens: system text and history longer than this lose their oldest turns.
        chat_format: `chatml`, or `raw` for base models, whose prompt is the last message alone.

    Raises:
        CorruptModel: the file is missing or damaged.
    """

    chat_template = ""
    bos_text = ""
    eos_text = "<|endoftext|>"

    def __init__(
        self, path: Path, tags: Sequence[str] = TEXT_TAGS, max_window_tokens: int = 6144, chat_format: str = "chatml"
    ) -> None:
        from tiktoken import Encoding

        ranks = _read_ranks(path)
        self.special_tokens: Mapping[str, int] = {tag: len(ranks) + place for place, tag in enumerate(tags)}
        self._encoding = Encoding(path.name, pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=self.special_tokens)
        self._tag_of = {token_id: tag for tag, token_id in self.special_tokens.items()}
        self._size = len(ranks)
        stops = ("<|endoftext|>",) if chat_format == "raw" else ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        self.stop_ids = frozenset(self.special_tokens[tag] for tag in stops)
        self.max_window_tokens = max_window_tokens
        self.chat_format = chat_format

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        tokens: list[tuple[int, str, Span]] = []
        for span in spans:
            if span.image is not None:
                tokens += [(token_id, self._tag_of[token_id], span) for token_id in self.image_ids()]
            elif span.kind == "control" and span.text in self.special_tokens:
                tokens.append((self.special_tokens[span.text], span.text, span))
            else:
                tokens += [(token_id, self.token_text(token_id), span) for token_id in self.encode_text(span.text)]
        return tokens

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; nothing in it becomes a tag."""
        return self._encoding.encode_ordinary(unicodedata.normalize("NFC", text))

    def image_ids(self) -> list[int]:
        """The ids of one picture. The original has its path's bytes here, which the network never sees."""
        begin, end, pad = (self.special_tokens[tag] for tag in ("<img>", "</img>", "<imgpad>"))
        return [begin, *[pad] * IMAGE_TOKENS, end]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, tags as they are written; padding rows of the vocabulary are nothing."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_text(self, token_id: int) -> str:
        return self.token_bytes(token_id).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < self._size:
            return self._encoding.decode_single_token_bytes(token_id)
        return self._tag_of.get(token_id, "").encode()


def _read_ranks(path: Path) -> dict[bytes, int]:
    if not path.is_file():
        raise CorruptModel(path=path, detail="the vocabulary file is missing")
    ranks: dict[bytes, int] = {}
    try:
        for line in path.read_bytes().splitlines():
            if line:
                word, rank = line.split()
                ranks[base64.b64decode(word, validate=True)] = int(rank)
    except ValueError as error:
        raise CorruptModel(path=path, detail=f"line {len(ranks) + 1} is damaged ({error})") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise CorruptModel(path=path, detail="its ranks have gaps: the file is cut short")
    return ranks
