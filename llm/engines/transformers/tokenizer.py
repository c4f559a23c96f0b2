"""Rendered prompts to token ids with a Hugging Face tokenizer: tags only where the template put them.

A text without tags of its own is tokenised whole, exactly as `apply_chat_template` does. Where somebody's
words spell a tag, the words between two of the template's tags go through a copy of the tokenizer that does
not know any tag, so that what is typed stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from llm.engines.transformers.plain_tokenizer import PlainTokenizer
from llm.errors import CorruptModel
from llm.families.base import SpanTokenizer
from llm.prompt import Span

# Besides the tokens marked special, a checkpoint's added tokens that look like this are control tags.
TAG_SHAPE = re.compile(r"<[|｜].*[|｜]>|\[/?[A-Z_]+\]")
# Unicode's White_Space property, which is what `tokenizers` strips; Python's idea of it has four more.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
TAG_KINDS = ("control", "image", "audio")


class HFSpanTokenizer(SpanTokenizer):
    """`SpanTokenizer` (llm/families/base.py) over a transformers tokenizer, fast or slow.

    Args:
        tokenizer: a `PreTrainedTokenizerBase`.
        stop_ids: end-of-sequence ids of the checkpoint's configuration; the tokenizer's own is added.
    """

    def __init__(self, tokenizer: Any, stop_ids: frozenset[int] = frozenset()) -> None:
        self.tokenizer = tokenizer
        template = tokenizer.chat_template
        self.chat_template: str = _template_named(template, "default")
        self.tool_template = _template_named(template, "tool_use") if isinstance(template, Mapping) else ""
        self.bos_text: str = tokenizer.bos_token or ""
        self.eos_text: str = tokenizer.eos_token or ""
        own_stop = {tokenizer.eos_token_id} - {None}
        self.stop_ids: frozenset[int] = frozenset(stop_ids | own_stop)
        self.special_tokens: Mapping[str, int] = _control_tokens(tokenizer, self.chat_template + self.tool_template)
        self._texts = {token_id: text for text, token_id in self.special_tokens.items()}
        # Any text with a character outside the vocabulary gives the unknown token; it is no sign of a tag.
        self._guarded_ids = frozenset(self._texts) - {tokenizer.unk_token_id}
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._kept_texts = lru_cache(maxsize=65536)(lambda token_id: _readable(self.token_bytes(token_id)))

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        """Per token: id, how it reads, and the span in which it begins."""
        spans = [span for span in spans if span.text]
        tokens = self._published("".join(span.text for span in spans))
        found = [token_id for token_id, *_ in tokens if token_id in self._guarded_ids]
        meant = [token_id for span in spans if span.kind in TAG_KINDS for token_id in self._tag_ids(span.text)]
        if found != [token_id for token_id in meant if token_id in self._guarded_ids]:
            tokens = list(self._guarded(spans))
        return self._attributed(tokens, spans)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def token_text(self, token_id: int) -> str:
        return self._kept_texts(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        if token_id in self._texts:
            return self._texts[token_id].encode()
        token = self.tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # padding of the embedding matrix, no token of the vocabulary
            return b""
        if self._byte_level:
            if token_id in self._added_ids:
                return str(token).encode()
            return bytes(_BYTE_OF[char] for char in token if char in _BYTE_OF)
        if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return str(token).replace("▁", " ").encode()

    @cached_property
    def _byte_level(self) -> bool:
        if self._backend is None:
            return getattr(self.tokenizer, "byte_decoder", None) is not None
        return "ByteLevel" in str(self._backend.decoder)

    @cached_property
    def _plain(self) -> PlainTokenizer:
        return PlainTokenizer(self._backend, self.special_tokens, self.tokenizer.unk_token)

    def _tag_ids(self, text: str) -> list[int]:
        if text in self.special_tokens:
            return [self.special_tokens[text]]
        return [token_id for token_id, *_ in self._published(text)]

    def _published(self, text: str) -> list[tuple[int, int, int]]:
        """(id, begin, end) as `apply_chat_template` has it; places are in characters, -1 where unknown."""
        if self._backend is None:
            return [(token_id, -1, -1) for token_id in self.tokenizer.encode(text, add_special_tokens=False)]
        encoding = self._backend.encode(text, add_special_tokens=False)
        return [(i, begin, end) for i, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)]

    def _guarded(self, spans: Sequence[Span]) -> Iterator[tuple[int, int, int]]:
        """Like `_published`, but with tags only where a control span is."""
        place, strips_next = 0, False
        for is_tag, text, strips in self._runs(spans):
            if is_tag:
                for token_id in self._tag_ids(text):
                    yield token_id, place, place + len(text)
                strips_next = strips
            else:
                # Tags may swallow the white space beside them (`rstrip`, `lstrip` of an added token).
                kept = text.lstrip(WHITE_SPACE) if strips_next else text
                begin = place + len(text) - len(kept)
                for token_id, low, high in self._words(kept.rstrip(WHITE_SPACE) if strips else kept, begin == 0):
                    yield token_id, begin + low, begin + high
                strips_next = False
            place += len(text)

    def _words(self, text: str, is_first: bool) -> list[tuple[int, int, int]]:
        if not text:
            return []
        if self._backend is not None:
            return self._plain.encode(text, is_first)
        tokens = self.tokenizer.tokenize(text, split_special_tokens=True)
        return [(token_id, -1, -1) for token_id in self.tokenizer.convert_tokens_to_ids(tokens)]

    def _runs(self, spans: Sequence[Span]) -> list[tuple[bool, str, bool]]:
        """Stretches between tags: (is tag, text, strips); words joined across spans, as the published merges go.

        `strips`: for a tag, whether it swallows the white space after it; for words, whether the next tag
        swallows the white space before it.
        """
        runs: list[tuple[bool, str, bool]] = []
        for span in spans:
            is_tag = span.kind in TAG_KINDS and (span.kind != "control" or span.text in self.special_tokens)
            added = self._added.get(span.text) if is_tag else None
            if is_tag:
                if runs and not runs[-1][0] and added is not None and added.lstrip:
                    runs[-1] = (False, runs[-1][1], True)
                runs.append((True, span.text, added is not None and added.rstrip))
            elif runs and not runs[-1][0]:
                runs[-1] = (False, runs[-1][1] + span.text, False)
            else:
                runs.append((False, span.text, False))
        return runs

    @cached_property
    def _added_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.added_tokens_decoder)

    @cached_property
    def _added(self) -> dict[str, Any]:
        return {str(token): token for token in self.tokenizer.added_tokens_decoder.values()}

    def _attributed(self, tokens: list[tuple[int, int, int]], spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        if any(begin < 0 for _, begin, _ in tokens):
            tokens = self._located(tokens, "".join(span.text for span in spans))
        text = "".join(span.text for span in spans)
        pieces: list[tuple[int, str, Span]] = []
        index, end_of_span, last_end = 0, len(spans[0].text) if spans else 0, 0
        for place, (token_id, begin, end) in enumerate(tokens):
            while begin >= end_of_span and index + 1 < len(spans):
                index += 1
                end_of_span += len(spans[index].text)
            next_begin = tokens[place + 1][1] if place + 1 < len(tokens) else end
            whole = last_end <= begin < end <= next_begin and token_id not in self._texts
            pieces.append((token_id, text[begin:end] if whole else self.token_text(token_id), spans[index]))
            last_end = max(last_end, end)
        return pieces

    def _located(self, tokens: list[tuple[int, int, int]], text: str) -> list[tuple[int, int, int]]:
        """Places for a tokenizer that doesn't tell: each token's text is looked for from where the last ended."""
        located, place = [], 0
        for token_id, *_ in tokens:
            reads = self.token_text(token_id)
            found = text.find(reads, place, place + len(reads) + 8) if reads else -1
            if found < 0 and reads.startswith(" "):  # the space that sentencepiece puts before a text
                reads = reads[1:]
                found = text.find(reads, place, place + len(reads) + 8) if reads else -1
            begin = place if found < 0 else found
            place = begin if found < 0 else begin + len(reads)
            located.append((token_id, begin, place))
        return located


def load_tokenizer(folder: Any, stop_ids: frozenset[int]) -> HFSpanTokenizer:
    """The tokenizer of a checkpoint folder.

    Raises:
        CorruptModel: its files are missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # readers of several formats, each with its own kinds of error
        raise CorruptModel(path=str(_tokenizer_file(folder)), detail=f"no usable tokenizer ({error})") from error
    return HFSpanTokenizer(tokenizer, stop_ids)


def _tokenizer_file(folder: Any) -> Any:
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")
    return next((folder / name for name in names if (folder / name).exists()), folder / "tokenizer.json")


def _template_named(template: Any, name: str) -> str:
    """One of several templates of a checkpoint, by name; where it has one alone, that is the default."""
    if isinstance(template, Mapping):
        first = next(iter(template.values()), "") if name == "default" else ""
        return str(template.get(name) or first)
    return template or ""


def _control_tokens(tokenizer: Any, template: str) -> dict[str, int]:
    """Text -> id of the tags: tokens marked special, and added tokens that look like tags or that the template has."""
    control = {}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        text = str(token)
        if token.special or TAG_SHAPE.fullmatch(text) or (text.strip() and text in template and text.startswith("<")):
            control[text] = token_id
    for text in tokenizer.all_special_tokens:
        control.setdefault(text, tokenizer.convert_tokens_to_ids(text))
    return control


def _readable(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


def _bytes_by_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes (`bytes_to_unicode` of openai/gpt-2's encoder.py), reversed."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _bytes_by_character()
