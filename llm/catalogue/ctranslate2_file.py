"""What a CTranslate2 folder says of its model: read from model.bin's names and shapes, without the weights."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LARGEST_NUMBER = 8  # bytes; a damaged file may claim gigabytes


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of model.bin: its dimensions, and the number that one without dimensions holds."""

    shape: tuple[int, ...]
    number: int | None = None


def variables(folder: Path) -> dict[str, Variable]:
    """The variables in model.bin by name; none of those after a place that cannot be read.

    Layout (ctranslate2/specs/model_spec.py, `_serialize`): version, specification's name, revision, number of
    variables; then for each its name, rank, dimensions, type, size in bytes, and the bytes.
    """
    found: dict[str, Variable] = {}
    try:
        with (folder / "model.bin").open("rb") as file:
            file.read(4)
            _text(file)
            _, count = struct.unpack("<II", file.read(8))
            for _ in range(count):
                name = _text(file)
                rank = file.read(1)[0]
                shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
                file.read(1)
                size = struct.unpack("<I", file.read(4))[0]
                is_number = not rank and size <= _LARGEST_NUMBER
                found[name] = Variable(shape, int.from_bytes(file.read(size), "little") if is_number else None)
                file.seek(0 if is_number else size, 1)
    except (OSError, struct.error, IndexError, UnicodeDecodeError):
        pass
    return found


def whisper_width(folder: Path) -> int:
    """Model width: the embedding's second dimension; 0 where it isn't found."""
    embedding = variables(folder).get("decoder/embeddings/weight")
    return embedding.shape[1] if embedding is not None and len(embedding.shape) == 2 else 0


def missing_alignment_heads(folder: Path) -> list[list[int]]:
    """[layer, head] pairs that config.json names for aligning words and the decoder lacks.

    CTranslate2 reads beyond its memory for such a pair, which ends the process.
    """
    found = variables(folder)
    layers = {int(layer[1]) for name in found if (layer := re.match(r"decoder/layer_(\d+)/", name))}
    heads = found["decoder/num_heads"].number if "decoder/num_heads" in found else None
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("alignment_heads") or []
    except (OSError, ValueError, AttributeError):
        return []
    if not layers or heads is None:
        return []
    try:
        return [[layer, head] for layer, head in named if layer not in layers or not 0 <= head < heads]
    except (TypeError, ValueError):  # no pairs of numbers: CTranslate2 says so itself
        return []


def _text(file: BinaryIO) -> str:
    return file.read(struct.unpack("<H", file.read(2))[0]).rstrip(b"\0").decode()
