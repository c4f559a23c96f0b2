"""Checkpoints of every layout load, and damaged ones are refused by the name of the damaged file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_checkpoints
import torch
from tiny_engines import GREEDY, answer, load

from llm.engine import Engine
from llm.engines.transformers.placement import Weights, resolve
from llm.errors import CorruptModel, UnsupportedModel
from llm.plan import LoadPlan


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return tiny_checkpoints.save_checkpoint(tmp_path_factory.mktemp("original") / "llama", "llama")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def shard(folder: Path) -> list[Path]:
    """Splits the weights over several files."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    return shards


def edit_config(folder: Path, **values) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def to_bin(folder: Path, prefix: str = "") -> None:
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def refused(folder: Path, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as caught:
        load(folder).close()
    for word in words:
        assert word in str(caught.value)


def test_every_layout_gives_the_same_answer(original, tmp_path):
    engine = load(original)
    assert isinstance(engine, Engine)
    expected = answer(engine, range(5, 20))
    assert "float32" in engine.plan.reason and "CPU" in load_plan_reason()
    assert engine.plan.precision == "float32" and engine.plan.device == "cpu"
    assert engine.plan.context_tokens == engine.context_tokens == 512
    assert engine.batching
    assert engine.stop_ids == {engine.tokenizer.eos_token_id}
    engine.close()
    sharded = Path(shutil.copytree(original, tmp_path / "sharded"))
    shard(sharded)
    pickled = Path(shutil.copytree(original, tmp_path / "pickled"))
    to_bin(pickled)
    for other in (sharded, pickled):
        engine = load(other)
        assert answer(engine, range(5, 20)) == expected
        engine.close()


def load_plan_reason() -> str:
    return resolve(LoadPlan(), Weights(1000), "x").reason if not torch.cuda.is_available() else "CPU"


def test_missing_shard(folder):
    missing = shard(folder)[1]
    missing.unlink()
    refused(folder, CorruptModel, missing.name, "missing")


@pytest.mark.parametrize("cut", [4, 60, 5000, -100])
def test_truncated_safetensors(folder, cut):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    refused(folder, CorruptModel, "model.safetensors")


@pytest.mark.parametrize("cut", [0, 5000, -100])
def test_truncated_bin(folder, cut):
    to_bin(folder)
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:cut])
    refused(folder, CorruptModel, "pytorch_model.bin")


def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Evil()}, folder / "pytorch_model.bin")
    refused(folder, CorruptModel, "copy")
    assert not ran.exists()


def test_lacking_tensors_are_not_made_up(folder):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    refused(folder, CorruptModel, "model.layers.1.mlp.up_proj.weight")


def test_missing_or_damaged_small_files(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "aside")
    refused(folder, CorruptModel, "model.safetensors", "no weights")
    (tmp_path / "aside").rename(folder / "model.safetensors")
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer[:1000])
    refused(folder, CorruptModel, "tokenizer.json")
    (folder / "tokenizer.json").unlink()
    refused(folder, CorruptModel, "tokenizer")
    (folder / "tokenizer.json").write_text(tokenizer)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text("{")
    refused(folder, CorruptModel, "config.json")
    (folder / "config.json").unlink()
    refused(folder, UnsupportedModel, "config.json")
    (folder / "config.json").write_text(config)
    load(folder).close()


def test_an_index_must_not_lead_out_of_the_folder(folder):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, CorruptModel, "index.json", "outside")


def test_code_that_comes_with_weights_is_not_run(folder, tmp_path):
    ran = tmp_path / "ran"
    (folder / "modeling_mine.py").write_text(f"open({str(ran)!r}, 'w')\n")
    auto_map = {"AutoConfig": "modeling_mine.Mine", "AutoModelForCausalLM": "modeling_mine.Mine"}
    edit_config(folder, auto_map=auto_map)
    engine = load(folder)  # a known type is loaded by transformers' own class
    assert len(answer(engine, range(5, 9))) == GREEDY.max_length
    engine.close()
    edit_config(folder, model_type="mine")
    refused(folder, UnsupportedModel, "mine", "not run")
    edit_config(folder, model_type="t5", is_encoder_decoder=True)
    refused(folder, UnsupportedModel, "t5")
    edit_config(folder, model_type="clip", is_encoder_decoder=False)
    refused(folder, UnsupportedModel, "clip")
    assert not ran.exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "int4"])
def test_precisions(original, precision):
    engine = load(original, LoadPlan(device="cpu", precision=precision))
    assert engine.plan.precision == precision
    assert len(answer(engine, range(5, 20))) == GREEDY.max_length
    full = load(original, LoadPlan(device="cpu", precision="float32"))
    assert engine.memory().total_bytes < full.memory().total_bytes
    engine.close()
    full.close()


def test_what_cannot_be_is_said():
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedModel, match="cuda"):
            resolve(LoadPlan(device="cuda"), Weights(1000), "x")
    huge = resolve(LoadPlan(device="cpu"), Weights(10**13), "x")
    assert huge.precision == "int4" and "fit" in huge.reason
    packed = resolve(LoadPlan(device="cpu"), Weights(10**9, stored_quantised=True), "x")
    assert packed.precision == "file"


def test_a_familys_own_loader_is_asked_first(folder, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm import checkpoints
    from llm.engines.transformers.tokenizer import HFSpanTokenizer

    class Loader:
        def load_model(self, folder, config, **kwargs):
            edit_config(folder, model_type="llama")
            return AutoModelForCausalLM.from_pretrained(folder, **kwargs)

        def load_tokenizer(self, folder, config):
            return HFSpanTokenizer(AutoTokenizer.from_pretrained(folder))

    edit_config(folder, model_type="oldmodel", auto_map={"AutoModel": "modeling.Old"})
    monkeypatch.setattr(
        checkpoints, "checkpoint_loader", lambda config: Loader() if config["model_type"] == "oldmodel" else None
    )
    engine = load(folder)
    assert len(answer(engine, range(5, 20))) == GREEDY.max_length
    engine.close()
