"""Tokenizers of families whose vocabulary is a sentencepiece model and whose tags stand beside it.

Words can't become tags here: tags are looked up only for control spans, and pieces of the vocabulary
that spell a tag are cut apart before sentencepiece sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from llm.errors import CorruptModel
from llm.families.base import SpanTokenizer
from llm.prompt import Span

_WORD_BEGIN = "▁"  # sentencepiece's mark for a blank


class SentencePieceSpans(SpanTokenizer):
    """See `llm.families.base.SpanTokenizer`.

    Args:
        path: the sentencepiece model.
        special_tokens: text -> id of the tags that templates may use.
        stop_ids: ids that end an answer.

    Raises:
        CorruptModel: the model file is missing or damaged.
    """

    joins_spans: ClassVar[bool] = False
    """Whether neighbouring stretches of text were tokenised in one call by the original code."""

    chat_template = ""
    bos_text = ""
    eos_text = ""

    def __init__(self, path: Path, special_tokens: Mapping[str, int], stop_ids: frozenset[int]) -> None:
        self.processor = load_processor(path)
        self.special_tokens = dict(special_tokens)
        self.stop_ids = stop_ids
        self._tag_of = {token_id: text for text, token_id in special_tokens.items()}
        self._size = self.processor.vocab_size()

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        tokens: list[tuple[int, str, Span]] = []
        for run in self._runs(spans):
            if self._is_tag(run[0]):
                tokens.append((self.special_tokens[run[0].text], run[0].text, run[0]))
            else:
                tokens.extend(self._encode_run(run))
        return tokens

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; nothing in it becomes a tag."""
        return [token_id for token_id, _ in self._pieces(self._prepare(text))]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, tags as they are written."""
        text = ""
        plain: list[int] = []
        for token_id in ids:
            if token_id in self._tag_of:
                text += self._decode_plain(plain) + self._tag_of[token_id]
                plain = []
            elif token_id < self._size:
                plain.append(token_id)
        return text + self._decode_plain(plain)

    def token_text(self, token_id: int) -> str:
        if token_id in self._tag_of:
            return self._tag_of[token_id]
        if token_id >= self._size:
            return ""
        piece: str = self.processor.id_to_piece(token_id)
        return self._restore(piece.replace(_WORD_BEGIN, " "))

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < self._size and token_id not in self._tag_of and self.processor.is_byte(token_id):
            return bytes([int(self.processor.id_to_piece(token_id)[3:5], 16)])  # <0xE4>
        return self.token_text(token_id).encode()

    def _is_tag(self, span: Span) -> bool:
        return span.kind == "control" and span.text in self.special_tokens

    def _runs(self, spans: Sequence[Span]) -> Iterator[list[Span]]:
        """Tags alone; text span by span, or all that stands between two tags together."""
        run: list[Span] = []
        for span in spans:
            if run and (self._is_tag(span) or not self.joins_spans):
                yield run
                run = []
            run.append(span)
            if self._is_tag(span):
                yield run
                run = []
        if run:
            yield run

    def _encode_run(self, run: list[Span]) -> Iterator[tuple[int, str, Span]]:
        texts = [self._prepare(span.text) for span in run]
        index, end = 0, len(texts[0].encode())
        for token_id, begin in self._pieces("".join(texts)):
            while begin >= end and index + 1 < len(run):
                index += 1
                end += len(texts[index].encode())
            yield token_id, self.token_text(token_id), run[index]

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        """Id and first byte of each piece."""
        pieces = self.processor.encode(text, return_type="proto").pieces
        return [(piece.id, piece.begin) for piece in pieces]

    def _decode_plain(self, ids: list[int]) -> str:
        return self._restore(self.processor.decode(ids)) if ids else ""

    def _prepare(self, text: str) -> str:
        """Text as the vocabulary spells it."""
        return text

    def _restore(self, text: str) -> str:
        """The reverse of `_prepare`."""
        return text


def load_processor(path: Path) -> Any:
    """A sentencepiece model.

    Raises:
        CorruptModel: the file is missing or damaged.
    """
    from sentencepiece import SentencePieceProcessor

    if not path.is_file():
        raise CorruptModel(path=path, detail="the vocabulary file is missing")
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise CorruptModel(path=path, detail=f"it is no sentencepiece model ({error})") from error


def cut_tags(text: str, tags: re.Pattern[str]) -> Iterator[str]:
    """The text in stretches of which none holds a whole tag: cut after each tag's first character."""
    begin = 0
    for match in tags.finditer(text):
        yield text[begin : match.start() + 1]
        begin = match.start() + 1
    yield text[begin:]
