"""The catalogue's entries, and what a local path is taken for."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from llm.catalogue import library, lookup
from llm.catalogue.entry import ModelEntry, Shape, Source
from llm.catalogue.toml_file import read_entries, write_entries
from llm.errors import CorruptModel, UnknownModel, UnsupportedModel
from llm.settings import GenerationSettings
from tests.catalogue.test_gguf import METADATA, TINY, gguf

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * at


def folder(path: Path, config: dict | None = None, **files: bytes) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config or LLAMA))
    for name, body in (files or {"model.safetensors": safetensors({"w": [10, 20]})}).items():
        (path / name).write_bytes(body)
    return path


def test_the_shipped_catalogue_is_sound() -> None:
    known = lookup.entries()
    assert len({entry.id for entry in known}) == len(known) >= 60
    for entry in known:
        GenerationSettings().with_values(entry.sampling)
        assert entry.size_bytes > 0 < entry.parameters, entry.id
        assert entry.citation.startswith("https://") and entry.languages and entry.sources, entry.id
        for source in entry.sources:
            assert source.repo and (source.kind == "package_index" or source.repo.count("/") == 1), entry.id
            assert len(source.packages) == len(source.package_bytes)
        if entry.engine == "llamacpp":
            assert entry.file.endswith(".gguf") and entry.quantisation, entry.id
    for wanted in ("chatglm3-6b", "qwen-7b-chat-int4", "qwen-vl-chat", "baichuan2-13b-chat", "faster-whisper-base"):
        assert wanted in {entry.id for entry in known}


@pytest.mark.parametrize("wanted", ["qwen2.5-7b-instruct", "llama-3.1-8b-instruct", "qwen3-4b", "baichuan2-7b-chat"])
def test_sizes_follow_from_the_shapes(wanted: str) -> None:
    """Two bytes for each parameter of a decoder of this shape; biases and norms are a thousandth."""
    entry = lookup.find(wanted)
    s = entry.shape
    attention = 2 * s.hidden * s.head_dim * (s.heads + s.kv_heads)
    block = attention + 3 * s.hidden * s.intermediate
    embeddings = (1 if wanted == "qwen3-4b" else 2) * s.vocab * s.hidden
    assert entry.size_bytes == pytest.approx(2 * (s.layers * block + embeddings), rel=1e-3)


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(UnknownModel, match="smollm2-135m-instruct-q4_1"):
        lookup.find("no-such-model")
    with pytest.raises(UnknownModel):
        lookup.find("")


def test_a_gguf_by_path(tmp_path: Path) -> None:
    path = tmp_path / "SmolLM2-tiny.gguf"
    path.write_bytes(TINY)
    entry = lookup.find(path)
    assert (entry.engine, entry.family, entry.context_tokens, entry.quantisation) == (
        "llamacpp",
        "smollm",
        2048,
        "Q4_1",
    )
    assert entry.path == path and entry.parameters == 132 and lookup.where(entry) == path
    assert lookup.find(tmp_path).path == path
    path.write_bytes(gguf({**METADATA, "general.architecture": "clip"}, [("a", (4,), 0, 0)], b"\0" * 16))
    with pytest.raises(UnsupportedModel, match="clip"):
        lookup.find(path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnsupportedModel):
        lookup.find(tmp_path / "notes.txt")


def test_a_checkpoint_by_path(tmp_path: Path) -> None:
    entry = lookup.find(folder(tmp_path / "my-llama"))
    assert (entry.engine, entry.family, entry.parameters, entry.context_tokens) == ("transformers", "llama", 200, 4096)
    assert entry.shape == Shape(2, 64, 4, 2, 16, 128, 1000)
    assert lookup.where(entry) == tmp_path / "my-llama"


@pytest.mark.parametrize(
    ("config", "family", "task"),
    [
        ({"model_type": "chatglm", "inner_hidden_size": 16384}, "chatglm", "text-generation"),
        (
            {"model_type": "chatglm", "padded_vocab_size": 65024, "_name_or_path": "THUDM/chatglm3-6b"},
            "chatglm3",
            "text-generation",
        ),
        ({"model_type": "chatglm", "padded_vocab_size": 65024}, "chatglm2", "text-generation"),
        ({"model_type": "qwen"}, "qwen", "text-generation"),
        ({"model_type": "qwen", "visual": {}}, "qwen-vl", "image-text-to-text"),
        ({"model_type": "qwen2_5_vl"}, "qwen2-vl", "image-text-to-text"),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, "qwen", "text-generation"),
        ({"model_type": "clip"}, "clip", "zero-shot-image-classification"),
    ],
)
def test_families_are_recognised(tmp_path: Path, config: dict, family: str, task: str) -> None:
    entry = lookup.find(folder(tmp_path / "m", config))
    assert (entry.family, entry.task) == (family, task)


def test_damaged_and_foreign_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="ResNetBackbone"):
        lookup.find(folder(tmp_path / "a", {"model_type": "resnet", "architectures": ["ResNetBackbone"]}))
    with pytest.raises(CorruptModel, match="no weights"):
        lookup.find(folder(tmp_path / "b", LLAMA, **{"readme.md": b""}))
    with pytest.raises(CorruptModel, match="cut short"):
        lookup.find(folder(tmp_path / "c", LLAMA, **{"model.safetensors": safetensors({"w": [10, 20]})[:-1]}))
    with pytest.raises(CorruptModel, match="1 of 2"):
        lookup.find(folder(tmp_path / "d", LLAMA, **{"model-00001-of-00002.safetensors": safetensors({"w": [1]})}))
    index = json.dumps({"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}).encode()
    files = {"model.safetensors.index.json": index, "a.safetensors": safetensors({"w": [1]})}
    with pytest.raises(CorruptModel, match=r"b\.safetensors is missing"):
        lookup.find(folder(tmp_path / "e", LLAMA, **files))
    (tmp_path / "e" / "config.json").write_text("{")
    with pytest.raises(CorruptModel, match="not valid JSON"):
        lookup.find(tmp_path / "e")


def test_entries_survive_being_written(tmp_path: Path) -> None:
    known = lookup.entries()
    write_entries(tmp_path / "models.toml", known)
    assert read_entries(tmp_path / "models.toml") == known


def test_own_models_are_kept_found_and_forgotten(tmp_path: Path, home: Path) -> None:
    entry = lookup.find(folder(tmp_path / '模型 "quoted"'))
    lookup.add(entry)
    assert lookup.find(entry.id) == entry and entry.id in {e.id for e in lookup.installed()}
    assert lookup.forget(entry.id) and not lookup.forget(entry.id)
    assert (tmp_path / '模型 "quoted"').is_dir()


def hub_entry(*sources: Source) -> ModelEntry:
    return ModelEntry("m", "M", "text-generation", "llama", "transformers", sources=sources)


def test_what_the_hubs_tools_fetched_is_found(tmp_path: Path) -> None:
    hf, ms = Source("huggingface", repo="people/model"), Source("modelscope", repo="people/model-1.5")
    entry = hub_entry(ms, hf)
    assert lookup.where(entry) is None
    snapshots = tmp_path / "huggingface" / "models--people--model" / "snapshots"
    old = folder(snapshots / "aaa")
    new = folder(snapshots / "bbb")
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("aaa")
    assert lookup.where(hub_entry(hf)) == old
    (old / "model.safetensors").unlink()
    assert lookup.where(hub_entry(hf)) == new
    legacy = folder(tmp_path / "modelscope" / "hub" / "models" / "people" / "model-1___5")
    assert lookup.where(entry) == legacy
    current = folder(tmp_path / "modelscope" / "models" / "people--model-1.5" / "snapshots" / "master")
    assert list(lookup.places(entry)) == [current, legacy, new]


def test_deleting_frees_what_it_said_and_leaves_the_users_own(tmp_path: Path) -> None:
    snapshots = tmp_path / "huggingface" / "models--people--model" / "snapshots" / "aaa"
    folder(snapshots)
    blobs = snapshots.parent.parent / "blobs"
    blobs.mkdir()
    (snapshots / "model.safetensors").rename(blobs / "w")
    (snapshots / "model.safetensors").symlink_to(blobs / "w")
    entry = hub_entry(Source("huggingface", repo="people/model"))
    (place,) = library.places_of(entry)
    expected = (blobs / "w").stat().st_size + (snapshots / "config.json").stat().st_size
    assert (place.owner, place.size_bytes) == ("huggingface", expected)
    assert library.delete(place) == expected
    assert lookup.where(entry) is None and not place.root.exists()
    own = lookup.find(folder(tmp_path / "mine"))
    (place,) = library.places_of(own)
    assert place.owner == "user" and library.delete(place) == 0 and place.path.is_dir()


def test_verify_tells_whole_from_damaged(tmp_path: Path) -> None:
    from hashlib import sha256

    body = safetensors({"w": [1000]})
    snapshot = folder(tmp_path / "huggingface" / "models--people--model" / "snapshots" / "aaa", LLAMA, **{"x": b""})
    blob = snapshot.parent.parent / "blobs" / sha256(body).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(body)
    (snapshot / "model.safetensors").symlink_to(blob)
    entry = hub_entry(Source("huggingface", repo="people/model"))
    (place,) = library.places_of(entry)
    seen: list[tuple[int, int]] = []
    assert library.verify(entry, place, lambda done, total: seen.append((done, total))).by_hash == 1
    assert seen[-1] == (len(body), len(body))
    blob.write_bytes(body[:-1] + b"\1")
    assert "sha256" in library.verify(entry, place, lambda *_: None).problems[0]
    own = lookup.find(folder(tmp_path / "mine"))
    (place,) = library.places_of(own)
    assert library.verify(own, place, lambda *_: None).by_structure == 1
    (tmp_path / "mine" / "model.safetensors").write_bytes(body[:-5])
    assert "cut short" in library.verify(own, place, lambda *_: None).problems[0]


def test_copies_of_the_same_weights_are_found_under_other_names(tmp_path: Path) -> None:
    one, two = lookup.find(folder(tmp_path / "one")), lookup.find(folder(tmp_path / "two"))
    other = lookup.find(folder(tmp_path / "three", LLAMA, **{"model.safetensors": safetensors({"v": [10, 20]})}))
    for entry in (one, two, other):
        lookup.add(entry)
    (group,) = library.duplicates(library.holdings())
    assert {entry.id for entry, _ in group} == {one.id, two.id}


def test_last_use_is_remembered() -> None:
    assert library.last_used("chatglm3-6b") == 0
    library.mark_used("chatglm3-6b")
    assert library.last_used("chatglm3-6b") > 0
    library.mark_used("/some/path")
    assert library.last_used("../evil") == 0


def test_files_from_before_the_pipeline_tags_are_read(data_folder: Path) -> None:
    own = '[[model]]\nid = "m"\nname = "M"\ntask = "vision"\nfamily = "x"\nengine = "transformers"\n'
    (data_folder / "models.toml").write_text(own, encoding="utf-8")
    assert lookup.find("m").task == "image-text-to-text"


GOOD = '[[model]]\nid = "{id}"\nname = "M"\ntask = "vision"\nfamily = "x"\nengine = "transformers"\n'


@pytest.mark.parametrize(
    "bad",
    [
        '[[model]]\nid = "x"\nnonsense = 1\n',
        '[[model]]\nid = "x\nname = broken\n',
        GOOD.format(id="x").replace("vision", "sculpture"),
    ],
)
def test_one_bad_entry_does_not_take_the_others_away(
    data_folder: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = data_folder / "models.toml"
    file.write_text("\ufeff" + GOOD.format(id="a") + bad + GOOD.format(id="b"), encoding="utf-8")
    assert [entry.id for entry in lookup.own_entries()] == ["a", "b"] and len(caplog.records) == 1
    assert lookup.forget("a") and [entry.id for entry in lookup.own_entries()] == ["b"]
    assert bad in (data_folder / "models.toml.unreadable").read_text(encoding="utf-8")  # nothing is lost


def test_settings_with_a_byte_order_mark_are_read(data_folder: Path) -> None:
    from llm.config import config

    (data_folder / "config.toml").write_text("\ufeffthreads = 3\n", encoding="utf-8")
    config.cache_clear()
    assert config().threads == 3


@pytest.mark.parametrize(
    "name",
    [
        "~nosuchuser",
        "~nosuchuser/x.gguf",
        "/dev/stdin",
        "/dev/zero",
        "x" * 5000,
        "/" + "x" * 5000,
        "a\0b",
        "reader:/",
        " ",
        "",
    ],
)
def test_names_that_are_no_models_are_refused_with_a_short_sentence(home: Path, name: str) -> None:
    with pytest.raises((UnknownModel, CorruptModel, UnsupportedModel)) as raised:
        lookup.find(name)
    assert len(str(raised.value)) < 3000


def test_pipes_are_never_opened(tmp_path: Path, home: Path) -> None:
    """Reading one would wait for ever."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "config.json")
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "folder", tmp_path / "pipe.gguf"):
        with pytest.raises((UnknownModel, CorruptModel, UnsupportedModel)):
            lookup.find(path)


def test_a_whisper_folder_of_ctranslate2_is_there(tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        (tmp_path / name).write_text("{}")
    entry = ModelEntry("mine", "Mine", "automatic-speech-recognition", "whisper", "whisper", path=tmp_path)
    assert lookup.where(entry) == tmp_path
    (tmp_path / "model.bin").unlink()
    assert lookup.where(entry) is None
