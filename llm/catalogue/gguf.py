"""Reads the header of a GGUF file: what the model is, and how large each tensor is, without loading it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian). Files
come from anywhere, so every length is checked against what the file holds before it is believed.
"""

from __future__ import annotations

import mmap
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm.catalogue.entry import Shape
from llm.catalogue.json_file import POINTER, is_pointer
from llm.errors import CorruptModel, UnsupportedModel

_MAX_KEY_BYTES = 65_535
_MAX_TEXT_BYTES = 16 << 20
_MAX_ENTRIES = 1 << 20
_KEPT_TEXTS, _KEPT_NUMBERS = 64, 1024
"""Arrays up to this length are kept as tuples (a number for each layer, say); longer ones, as vocabularies, are skipped
and only counted."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # tokenizer.ggml.token_type, llama.cpp's llama_token_type

# ggml_type -> (name, values per block, bytes per block); ggml/src/ggml-common.h
_TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}

# llama_ftype, the value of general.file_type; llama.cpp include/llama.h
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


_SPLIT = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf", re.IGNORECASE)
_POOLING_VECTORS = (1, 2, 3)  # llama.cpp's enum llama_pooling_type: mean, cls, last
_POOLING_RANK = 4


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place. `shape` is innermost first, as stored; `offset` counts bytes from the data's begin."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself. Counts in `array_lengths` stand for arrays too long to keep."""

    path: Path
    version: int
    metadata: Mapping[str, Any]
    array_lengths: Mapping[str, int] = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    data_offset: int
    size_bytes: int

    def _of_architecture(self, key: str, default: Any = 0) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def _count(self, key: str) -> int:
        """A whole number of the architecture; of one value per layer, the largest."""
        value = self._of_architecture(key)
        if isinstance(value, tuple):
            value = max((v for v in value if isinstance(v, int)), default=0)
        return value if isinstance(value, int) and value > 0 else 0

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def name(self) -> str:
        return str(self.metadata.get("general.name", ""))

    @property
    def context_tokens(self) -> int:
        return self._count("context_length")

    @property
    def chat_template(self) -> str:
        return str(self.metadata.get("tokenizer.chat_template", ""))

    @property
    def ranks(self) -> bool:
        """Whether it was made to tell how well a text answers a question: llama.cpp's pooling of that name."""
        return bool(self._of_architecture("pooling_type") == _POOLING_RANK)

    @property
    def pools(self) -> bool:
        """Whether it says how its tokens become one vector, as embedders do."""
        return self._of_architecture("pooling_type") in _POOLING_VECTORS

    @property
    def picture_width(self) -> int:
        """Of a vision tower (mmproj): the width of what it gives to the language model; 0 is unknown."""
        value = self.metadata.get("clip.vision.projection_dim", 0)
        return value if isinstance(value, int) else 0

    @property
    def tokenizer_model(self) -> str:
        return str(self.metadata.get("tokenizer.ggml.model", ""))

    @property
    def file_type(self) -> str:
        """The quantisation's name (Q4_K_M ...); empty when the file doesn't say."""
        return _FILE_TYPES.get(self.metadata.get("general.file_type", -1), "")

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def shape(self) -> Shape:
        heads, hidden = self._count("attention.head_count"), self._count("embedding_length")
        head_dim = self._count("attention.key_length") or (hidden // heads if heads else 0)
        vocab = self._count("vocab_size") or self.array_lengths.get("tokenizer.ggml.tokens", 0)
        return Shape(
            layers=self._count("block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=self._count("attention.head_count_kv") or heads,
            head_dim=head_dim,
            intermediate=self._count("feed_forward_length"),
            vocab=vocab,
        )


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file, checked against the file's length. Repeated reads of an unchanged file are free.

    Of a model split over several files it tells the whole: the first file's words, all tensors, the size of all.

    Raises:
        UnsupportedModel: it was written for machines of the other byte order.
        CorruptModel: not GGUF, of another version, cut short, or with lengths that cannot be.
    """
    first, *others = [file_header(shard) for shard in shards(Path(path))]
    if not others:
        return first
    tensors = tuple(tensor for header in (first, *others) for tensor in header.tensors)
    return replace(first, tensors=tensors, size_bytes=sum(header.size_bytes for header in (first, *others)))


def shards(path: Path) -> list[Path]:
    """The files of a model that was split as `name-00001-of-00003.gguf`, whichever of them is named; else the one.

    Raises:
        CorruptModel: one of them is missing.
    """
    split = _SPLIT.fullmatch(path.name)
    if not split:
        return [path]
    count = int(split[2])
    files = [path.with_name(f"{split[1]}-{number:05d}-of-{split[2]}.gguf") for number in range(1, count + 1)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CorruptModel(path=str(path.parent), detail=f"of its {count} files {missing[0]}{more} is missing")
    return files or [path]


def file_header(path: Path) -> GgufHeader:
    """The header of one file, also of those that a model is split over.

    Raises:
        CorruptModel, UnsupportedModel: as `read_header`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise CorruptModel(path=str(path), detail=error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise CorruptModel(path=str(path), detail="it is no file")
    if is_pointer(path):
        raise CorruptModel(path=str(path), detail=POINTER)
    return _read_header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _read_header(path: Path, size_bytes: int, _modified_ns: int) -> GgufHeader:
    if size_bytes < 24:
        raise CorruptModel(path=str(path), detail=f"it is only {size_bytes} bytes long")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _Reader(view, path).header()
    except (OSError, ValueError) as error:
        raise CorruptModel(path=str(path), detail=str(error)) from error


def special_tokens(path: Path, parsed_only: bool = False) -> dict[str, int]:
    """Control tokens of a GGUF's vocabulary, text to id: those that it marks as control or user-defined.

    `parsed_only`: instead those that llama.cpp finds in a text only where it is told to parse special tokens.

    Raises:
        CorruptModel: as `read_header`.
    """
    texts, types = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            metadata = _Reader(view, path, keep=frozenset((texts, types))).header().metadata
    except (OSError, ValueError) as error:
        raise CorruptModel(path=str(path), detail=str(error)) from error
    marked = zip(metadata.get(texts, ()), metadata.get(types, ()), strict=False)
    kinds = (_CONTROL, _UNKNOWN) if parsed_only else (_CONTROL, _USER_DEFINED)
    return {text: index for index, (text, kind) in enumerate(marked) if kind in kinds}


class _Reader:
    """Walks through the mapped file. Nothing is read past its end: `_take` refuses."""

    def __init__(self, view: mmap.mmap, path: Path, keep: frozenset[str] = frozenset()) -> None:
        self._view, self._path, self._at, self._end = view, path, 0, len(view)
        self._keep = keep
        self._lengths: dict[str, int] = {}

    def header(self) -> GgufHeader:
        if self._view[:4] != b"GGUF":
            raise self._corrupt("it does not begin with GGUF")
        self._at = 4
        version = self._number("I")
        if version and not version & 0xFFFF:  # llama.cpp tells them the same way
            raise UnsupportedModel(path=str(self._path), detail="its numbers are big-endian, made for other machines")
        if version not in (2, 3):
            raise self._corrupt(f"its GGUF version is {version}, and 2 and 3 can be read")
        tensors, entries = self._number("Q"), self._number("Q")
        if max(tensors, entries) > _MAX_ENTRIES:
            raise self._corrupt(f"it claims {tensors} tensors and {entries} metadata entries")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._text(_MAX_KEY_BYTES)
            value = self._value(self._number("I"), key)
            if value is not None:
                metadata[key] = value
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise self._corrupt(f"its alignment is {alignment}")
        listed = tuple(self._tensor() for _ in range(tensors))
        data_offset = -(-self._at // alignment) * alignment
        self._check_extent(listed, data_offset)
        return GgufHeader(self._path, version, metadata, self._lengths, listed, data_offset, self._end)

    def _check_extent(self, tensors: tuple[Tensor, ...], data_offset: int) -> None:
        needed = max((data_offset + t.offset + t.size_bytes for t in tensors), default=0)
        if needed > self._end:
            raise self._corrupt(f"it is cut short: {needed} bytes are described and {self._end} are there")

    def _tensor(self) -> Tensor:
        name = self._text(_MAX_KEY_BYTES)
        dimensions = self._number("I")
        if not 1 <= dimensions <= 8:
            raise self._corrupt(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        kind, offset = self._number("I"), self._number("Q")
        known = _TENSOR_TYPES.get(kind)
        if known is None:
            # A type newer than the table above: its extent is unknown, the engine decides about it.
            return Tensor(name, shape, f"type {kind}", offset, 0)
        type_name, block, block_bytes = known
        elements = 1
        for length in shape:
            elements *= length
        return Tensor(name, shape, type_name, offset, -(-elements // block) * block_bytes)

    def _value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text(_MAX_TEXT_BYTES)
        if kind == _ARRAY:
            return self._array(key)
        raise self._corrupt(f"metadata {key!r} is of unknown type {kind}")

    def _array(self, key: str) -> tuple[Any, ...] | None:
        kind, length = self._number("I"), self._number("Q")
        kept = _KEPT_TEXTS if kind == _STRING else _KEPT_NUMBERS
        if (length <= kept or key in self._keep) and (kind in _SCALARS or kind == _STRING):
            return tuple(self._value(kind, key) for _ in range(length))
        self._lengths[key] = length
        if kind in _SCALARS:
            self._take(length * struct.calcsize(f"<{_SCALARS[kind]}"))
        elif kind == _STRING:
            self._skip_texts(length)
        else:
            raise self._corrupt(f"metadata {key!r} is an array of type {kind}")
        return None

    def _skip_texts(self, count: int) -> None:
        if count * 8 > self._end - self._at:
            raise self._corrupt(f"it is cut short inside a list of {count} texts")
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            start = self._take(8)
            self._take(length_of(self._view, start)[0])

    def _text(self, longest: int) -> str:
        length = self._number("Q")
        if length > longest:
            raise self._corrupt(f"it holds a text of {length} bytes where at most {longest} make sense")
        start = self._take(length)
        return self._view[start : start + length].decode("utf-8", errors="replace")

    def _number(self, code: str) -> Any:
        start = self._take(struct.calcsize(f"<{code}"))
        return struct.unpack_from(f"<{code}", self._view, start)[0]

    def _take(self, count: int) -> int:
        """Where the next `count` bytes begin; they are passed over."""
        start = self._at
        if count > self._end - start:
            raise self._corrupt(f"it is cut short at byte {self._end}")
        self._at = start + count
        return start

    def _corrupt(self, detail: str) -> CorruptModel:
        return CorruptModel(path=str(self._path), detail=detail)
