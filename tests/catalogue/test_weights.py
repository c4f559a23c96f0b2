"""Which files are a model's weights: one rule for the catalogue, the plan, the engines and transformers itself."""

from __future__ import annotations

import json
import os
import random
import struct
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llm.catalogue import library, lookup
from llm.catalogue.gguf import read_header
from llm.catalogue.weights import check_weights, tensor_places, weight_files
from llm.errors import CorruptModel, MissingPackage, ModelError, UnsupportedModel
from llm.planning.memory import estimate
from tests.catalogue.test_gguf import METADATA, TINY, gguf
from tests.catalogue.test_lookup import LLAMA, folder, safetensors

WHOLE = safetensors({"model.embed_tokens.weight": [10, 20]})
PART, OTHER = safetensors({"a": [3, 5]}), safetensors({"b": [7]})
STALE = json.dumps({"weight_map": {"a": "gone.safetensors"}}).encode()
INDEX = json.dumps(
    {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
).encode()
SHARDS = {"model-00001-of-00002.safetensors": PART, "model-00002-of-00002.safetensors": OTHER}
PICKLE_INDEX = json.dumps({"weight_map": {"a": "x.bin"}}).encode()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 4976698672\n"


def pickle(seed: int = 1) -> bytes:
    """torch's archive of one tensor."""
    import io

    import torch

    file = io.BytesIO()
    torch.save({"a": torch.full((2, 3), float(seed), dtype=torch.float16)}, file)
    return file.getvalue()


ODD: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "stale index beside a whole file": (
        {"model.safetensors": WHOLE, "model.safetensors.index.json": STALE},
        ["model.safetensors"],
    ),
    "shards by index": ({"model.safetensors.index.json": INDEX, **SHARDS}, sorted(SHARDS)),
    "an index and files that it does not name": (
        {"model.safetensors.index.json": INDEX, **SHARDS, "model-00003-of-00003.safetensors": WHOLE},
        sorted(SHARDS),
    ),
    "an adapter beside": (
        {"model.safetensors": WHOLE, "adapter_model.safetensors": PART, "adapter_config.json": b"{}"},
        ["model.safetensors"],
    ),
    "consolidated beside": ({"model.safetensors": WHOLE, "consolidated.safetensors": WHOLE}, ["model.safetensors"]),
    "a vision tower beside": ({"model.safetensors": WHOLE, "vision_tower.safetensors": OTHER}, ["model.safetensors"]),
    "both formats": ({"model.safetensors": WHOLE, "pytorch_model.bin": pickle()}, ["model.safetensors"]),
    "both formats, the first in shards": (
        {"pytorch_model.bin": pickle(), "model.safetensors.index.json": INDEX, **SHARDS},
        sorted(SHARDS),
    ),
    "a pickle with a stale index and leftovers of training": (
        {
            "pytorch_model.bin": pickle(),
            "pytorch_model.bin.index.json": PICKLE_INDEX,
            "optimizer.bin": pickle(2),
            "training_args.bin": pickle(3),
            "adapter_model.bin": pickle(4),
        },
        ["pytorch_model.bin"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_all_choose_the_same_files(tmp_path: Path, home: Path, name: str) -> None:
    from transformers.modeling_utils import _get_resolved_checkpoint_files

    from llm.checkpoints.loading import stored_tensors
    from llm.engines.transformers.loading import _weights

    files, expected = ODD[name]
    place = folder(tmp_path / "odd", LLAMA, **files)
    entry = lookup.find(place)
    size = sum(len(files[file]) for file in expected)
    assert [file.name for file in weight_files(place)] == expected
    assert entry.size_bytes == size
    assert estimate(entry, path=place).exact
    assert {tensor.path.name for tensor in stored_tensors(place).values()} == set(expected)
    resolved, _ = _get_resolved_checkpoint_files(str(place), None, None, None, None, False)
    assert sorted(Path(file).name for file in resolved or ()) == expected
    assert _weights(place, LLAMA).parameters == (entry.parameters or size // 2)
    (holding,) = library.places_of(entry)
    checked = library.verify(entry, holding, lambda *_: None)
    assert (checked.by_structure, checked.problems) == (len(expected), ())


BROKEN: dict[str, tuple[dict[str, bytes], type[ModelError], str]] = {
    "a missing shard": (
        {"model.safetensors.index.json": INDEX, "model-00001-of-00002.safetensors": PART},
        CorruptModel,
        "model-00002-of-00002.safetensors is missing",
    ),
    "a missing shard, though there is a pickle": (
        {"model.safetensors.index.json": STALE, "pytorch_model.bin": pickle()},
        CorruptModel,
        "gone.safetensors is missing",
    ),
    "shards without their index": (dict(SHARDS), CorruptModel, "the index of its weight files is missing"),
    "an adapter alone": (
        {
            "adapter_model.safetensors": PART,
            "adapter_config.json": json.dumps({"base_model_name_or_path": "people/base"}).encode(),
        },
        UnsupportedModel,
        "an adapter for people/base",
    ),
    "consolidated alone": ({"consolidated.00.pth": pickle()}, UnsupportedModel, "maker's own program"),
    "TensorFlow alone": ({"tf_model.h5": b"x"}, UnsupportedModel, "TensorFlow"),
    "a pointer": ({"model.safetensors": POINTER}, CorruptModel, "Git LFS"),
    "a shard that is a pointer": (
        {"model.safetensors.index.json": INDEX, **SHARDS, "model-00001-of-00002.safetensors": POINTER},
        CorruptModel,
        "Git LFS",
    ),
    "a pickle that is a pointer": ({"pytorch_model.bin": POINTER}, CorruptModel, "Git LFS"),
    "an index that leads out": (
        {"model.safetensors.index.json": json.dumps({"weight_map": {"a": "../model.safetensors"}}).encode()},
        CorruptModel,
        "outside of the folder",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named_by_all(tmp_path: Path, home: Path, name: str) -> None:
    from llm.checkpoints.loading import stored_tensors
    from llm.engines.transformers.loading import _weights

    files, error, words = BROKEN[name]
    place = folder(tmp_path / "broken", LLAMA, **files)
    askers: list[Callable[[], Any]] = [
        lambda: lookup.find(place),
        lambda: weight_files(place),
        lambda: stored_tensors(place),
        lambda: _weights(place, LLAMA),
    ]
    for ask in askers:
        with pytest.raises(error, match=words):
            ask()


def test_an_adapter_without_a_config_is_named(tmp_path: Path, home: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "people/base"}')
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(PART)
    with pytest.raises(UnsupportedModel, match="an adapter for people/base"):
        lookup.find(tmp_path / "lora")


VALUES = (None, 5, -1, 1e400, "x", "LlamaForCausalLM", [], [5], [None], [[]], {}, {"a": []}, True, 1 << 80)


@pytest.mark.parametrize(
    "key", [*LLAMA, "text_config", "vision_config", "quantization_config", "id2label", "auto_map", "num_labels",
            "architectures", "head_dim", "multi_query", "problem_type", "padded_vocab_size", "visual", "backbone",
            "max_sequence_length"]
)  # fmt: skip
def test_a_config_with_parts_of_the_wrong_kind_is_read_or_refused(tmp_path: Path, home: Path, key: str) -> None:
    for number, value in enumerate(VALUES):
        for base in (LLAMA, {**LLAMA, "model_type": "chatglm"}, {"model_type": "bert", "architectures": ["BertModel"]}):
            place = tmp_path / f"{number}-{base['model_type']}"
            try:
                lookup.find(folder(place, {**base, key: value}))
            except (CorruptModel, UnsupportedModel):
                continue


@pytest.mark.parametrize("value", [None, 5, "x", [], [1], {}, {"a": 5}, {"a": None}, {"a": ["x"]}, {"a": ""}])
def test_an_index_of_the_wrong_kind_is_refused(tmp_path: Path, home: Path, value: Any) -> None:
    for whole in (value, {"weight_map": value}):
        place = folder(
            tmp_path / f"{whole is value}", LLAMA, **{"model.safetensors.index.json": json.dumps(whole).encode()}
        )
        with pytest.raises(CorruptModel):
            lookup.find(place)


@pytest.mark.parametrize(
    "tensor",
    [
        5, None, [], {}, {"dtype": 1, "shape": [1], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": 1, "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": ["1"], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": [1], "data_offsets": 5}, {"dtype": "BF16", "shape": [1], "data_offsets": [0]},
        {"dtype": "BF16", "shape": [1], "data_offsets": [2, 0]},
        {"dtype": "BF16", "shape": [1], "data_offsets": [-2, 0]},
        {"dtype": "BF16", "shape": [1], "data_offsets": ["0", "2"]},
        {"dtype": "BF16", "shape": [1 << 70], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": [True], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": [1.0], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": [9], "data_offsets": [0, 2]},
    ],
)  # fmt: skip
def test_a_header_of_the_wrong_kind_is_refused(tmp_path: Path, tensor: Any) -> None:
    text = json.dumps({"w": tensor}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0")
    with pytest.raises(CorruptModel, match="damaged"):
        tensor_places(path)


def test_a_pipe_is_never_opened(tmp_path: Path, home: Path) -> None:
    for name in ("config.json", "model.safetensors", "model.safetensors.index.json"):
        place = folder(tmp_path / name)
        (place / "model.safetensors").unlink()
        (place / name).unlink(missing_ok=True)
        os.mkfifo(place / name)
        with pytest.raises((CorruptModel, UnsupportedModel)):
            lookup.find(place)


def test_a_byte_order_mark_and_no_class_are_no_reason_to_refuse(tmp_path: Path, home: Path) -> None:
    place = folder(tmp_path / "m")
    named = json.loads((place / "config.json").read_text())
    named.pop("architectures")
    (place / "config.json").write_text(json.dumps(named), encoding="utf-8-sig")
    (place / "model.safetensors").write_bytes(WHOLE)
    assert (lookup.find(place).task, lookup.find(place).family) == ("text-generation", "llama")


def test_values_for_each_layer_count_by_the_largest(tmp_path: Path, home: Path) -> None:
    entry = lookup.find(folder(tmp_path / "m", {**LLAMA, "num_key_value_heads": [1, 2], "intermediate_size": [64, 96]}))
    assert (entry.shape.kv_heads, entry.shape.intermediate) == (2, 96)


def split(place: Path, *, first_has_tensors: bool = True) -> list[Path]:
    place.mkdir()
    words = gguf(
        METADATA, [("a", (64, 2), 3, 0)] if first_has_tensors else [], b"\0" * (80 if first_has_tensors else 0)
    )
    rest = gguf({}, [("b", (64, 2), 3, 0)], b"\0" * 80), gguf({}, [("c", (4,), 0, 0)], b"\0" * 16)
    files = [place / f"tiny-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for file, body in zip(files, (words, *rest), strict=True):
        file.write_bytes(body)
    return files


@pytest.mark.parametrize("first_has_tensors", [True, False])
def test_a_split_gguf_is_one_model(tmp_path: Path, home: Path, first_has_tensors: bool) -> None:
    files = split(tmp_path / "s", first_has_tensors=first_has_tensors)
    size = sum(file.stat().st_size for file in files)
    parameters = 132 + 128 * first_has_tensors
    for named in (*files, tmp_path / "s"):
        entry = lookup.find(named)
        assert (entry.path, entry.size_bytes, entry.parameters) == (files[0], size, parameters)
    assert lookup.where(entry) == files[0]
    assert estimate(entry, path=files[0]).weights_bytes == read_header(files[0]).tensor_bytes
    (place,) = library.places_of(entry)
    assert place.size_bytes == size
    assert library.verify(entry, place, lambda *_: None).by_structure == 3
    files[1].unlink()
    with pytest.raises(CorruptModel, match="tiny-00002-of-00003"):
        lookup.find(files[0])
    assert lookup.where(entry) is None


def test_foreign_files_are_named(tmp_path: Path, home: Path) -> None:
    (tmp_path / "big.gguf").write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + b"\0" * 64)
    with pytest.raises(UnsupportedModel, match="big-endian"):
        lookup.find(tmp_path / "big.gguf")
    (tmp_path / "pointer.gguf").write_bytes(POINTER)
    with pytest.raises(CorruptModel, match="Git LFS"):
        lookup.find(tmp_path / "pointer.gguf")
    (tmp_path / "fine.gguf").write_bytes(TINY)
    assert lookup.find(tmp_path / "fine.gguf").parameters == 132


def test_old_pickles_pass_and_short_ones_do_not(tmp_path: Path) -> None:
    whole = tmp_path / "pytorch_model.bin"
    whole.write_bytes(pickle())
    check_weights([whole])
    whole.write_bytes(pickle()[:-40])
    with pytest.raises(CorruptModel, match="cut short"):
        check_weights([whole])


@pytest.mark.parametrize(("method", "package"), [("awq", "gptqmodel"), ("compressed-tensors", "compressed-tensors")])
def test_what_unpacks_the_weights_is_named(tmp_path: Path, home: Path, method: str, package: str) -> None:
    from llm.checkpoints.acceptance import check_checkpoint

    if find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    place = folder(tmp_path / "m", {**LLAMA, "quantization_config": {"quant_method": method, "bits": 4}})
    with pytest.raises(MissingPackage, match=package):
        check_checkpoint(lookup.find(place), place)


def changed(source: random.Random, body: bytes) -> bytes:
    """A body with some bytes changed, most of them where headers are, and now and then cut or doubled."""
    data = bytearray(body)
    for _ in range(source.choice((1, 2, 8, 40))):
        if data:
            data[source.randrange(min(len(data), source.choice((64, 400, len(data)))))] = source.randrange(256)
    if source.random() < 0.15:
        data = data[: source.randrange(len(data) + 1)]
    return bytes(data * 2 if source.random() < 0.05 else data)


@pytest.mark.slow
def test_two_thousand_changed_model_files_are_read_or_refused(tmp_path: Path, home: Path) -> None:
    source = random.Random(19)
    whole = {
        "config.json": json.dumps(LLAMA).encode(),
        "model.safetensors.index.json": INDEX,
        **SHARDS,
        "generation_config.json": b'{"eos_token_id": 2}',
    }
    longest, refused = 0.0, 0
    for number in range(2000):
        place = tmp_path / str(number)
        place.mkdir()
        if number % 2:
            (place / "m.gguf").write_bytes(changed(source, TINY))
        else:
            victim = source.choice([*whole])
            for name, body in whole.items():
                (place / name).write_bytes(changed(source, body) if name == victim else body)
        begun = time.monotonic()
        try:
            estimate(lookup.find(place), path=lookup.find(place).path)
        except (CorruptModel, UnsupportedModel):
            refused += 1
        longest = max(longest, time.monotonic() - begun)
    assert 0 < refused < 2000
    assert longest < 10
    print(f"{refused} refused, {2000 - refused} read, the longest {longest:.2f} s")
