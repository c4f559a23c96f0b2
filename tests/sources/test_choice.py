"""Which files of a repository are fetched."""

from __future__ import annotations

from llm.redaction import without_secrets
from llm.sources.choice import choose

COMMON = ["config.json", "tokenizer.json", "README.md", ".gitattributes"]


def test_safetensors_before_pickles_and_no_second_copies() -> None:
    names = [*COMMON, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    names += ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"]
    names += ["flax_model.msgpack", "onnx/model.onnx", "original/consolidated.00.pth", "consolidated.safetensors"]
    assert set(choose(names)) == {
        "config.json", "tokenizer.json", "README.md", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    }  # fmt: skip


def test_pickles_when_there_is_nothing_else_and_never_code() -> None:
    names = [*COMMON, "pytorch_model.bin", "modeling_chatglm.py", "quantization_kernels.cu", "tokenizer.model"]
    assert set(choose(names)) == {"config.json", "tokenizer.json", "README.md", "pytorch_model.bin", "tokenizer.model"}


def test_one_gguf_of_many_and_the_catalogues_own_choice() -> None:
    names = [*COMMON, "a-q4_k_m.gguf", "a-q8_0.gguf"]
    assert choose(names, single_file="a-q8_0.gguf") == ["a-q8_0.gguf"]
    assert not [name for name in choose(names) if name.endswith(".gguf")]
    assert choose(["model.bin", "vocabulary.txt", "x.md"], ["model.bin", "vocabulary.*"]) == [
        "model.bin",
        "vocabulary.txt",
    ]


def test_messages_lose_their_secrets() -> None:
    said = "https://me:pw@host/simple hf_abcdefghijkl ms-12345678-abcd Authorization: Bearer xyz token=abc"
    kept = without_secrets(said)
    for secret in ("me:pw", "abcdefghijkl", "12345678", "xyz", "=abc"):
        assert secret not in kept
