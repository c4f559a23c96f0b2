"""GGUF headers: a real file's, hand-made ones, and hostile ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.catalogue.gguf import read_header
from llm.errors import CorruptModel


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        body = b"".join(text(item) for item in value)
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + body
    return text(key) + struct.pack("<II", 4, value)


def gguf(metadata: dict[str, object], tensors: list[tuple[str, tuple[int, ...], int, int]], data: bytes) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(entry(key, value) for key, value in metadata.items())
    for name, shape, kind, offset in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", kind, offset)
    return head + b"\0" * (-len(head) % 32) + data


METADATA = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 3,
    "llama.context_length": 2048,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": [f"t{number}" for number in range(100)],
    "tokenizer.chat_template": "{{ messages }}",
}
TINY = gguf(METADATA, [("a", (64, 2), 3, 0), ("b", (4,), 0, 96)], b"\0" * 112)


def test_what_a_header_tells(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(TINY)
    header = read_header(path)
    assert (header.architecture, header.name, header.context_tokens, header.file_type) == (
        "llama",
        "Tiny",
        2048,
        "Q4_1",
    )
    assert (header.shape.layers, header.shape.kv_heads, header.shape.head_dim, header.shape.vocab) == (2, 2, 16, 100)
    assert header.chat_template == "{{ messages }}" and header.tokenizer_model == "gpt2"
    # 128 values in blocks of 32 to 20 bytes, and 4 of 4 bytes
    assert [tensor.size_bytes for tensor in header.tensors] == [80, 16]
    assert header.parameters == 132 and header.tensor_bytes == 96


@pytest.mark.parametrize("end", [0, 3, 4, 23, 40, len(TINY) // 2, len(TINY) - 17])
def test_a_file_cut_short_is_corrupt(tmp_path: Path, end: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(TINY[:end])
    with pytest.raises(CorruptModel):
        read_header(path)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0) + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**20) + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0) + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 2**60) + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + b"\0" * 64,
        b"<html><body>404</body></html>",
    ],
)
def test_lengths_that_cannot_be_are_refused_at_once(tmp_path: Path, bytes_: bytes) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(bytes_)
    with pytest.raises(CorruptModel):
        read_header(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(TINY) - 1), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_read_or_refused_but_never_breaks(tmp_path: Path, at: int, patch: bytes) -> None:
    path = tmp_path / f"{at}-{patch.hex()}.gguf"
    path.write_bytes(TINY[:at] + patch + TINY[at + len(patch) :])
    try:
        header = read_header(path)
    except CorruptModel:
        return
    finally:
        path.unlink()
    assert header.parameters >= 0 and header.shape.layers >= 0 and isinstance(header.file_type, str)
