"""P-Tuning v2 on tiny ChatGLM networks in their published layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import DynamicCache

from llm.catalogue.adapters import PREFIX, AdapterNote
from llm.catalogue.lookup import find
from llm.checkpoints.chatglm2_model import glm_config
from llm.checkpoints.chatglm_model import ChatGLMConfig
from llm.checkpoints.prefix import PrefixEncoder, give
from llm.engines.transformers.loading import open_model
from llm.finetune.bases import reading
from llm.finetune.data import Row, save_set
from llm.finetune.encode import trainable
from llm.finetune.errors import CannotTune
from llm.finetune.evaluate import ask, checkpoint_of, tuned_entry
from llm.finetune.export import export
from llm.finetune.passes import Passes
from llm.finetune.prefix import Prefix
from llm.finetune.run import Run
from llm.finetune.settings import CHATGLM_PREFIX, TrainSettings
from llm.finetune.start import new_run
from llm.finetune.trainer import train
from llm.jobs.child import Emitter
from llm.plan import LoadPlan
from llm.runtime import handles
from tests.finetune import tiny

ROOT = Path(__file__).resolve().parents[2].parent / "shared" / "checkpoints"
KINDS = ("chatglm", "chatglm2", "chatglm3")
EMBEDDING = "transformer.prefix_encoder.embedding.weight"
ROWS = [Row.of("你是谁", "我是小明。"), Row.of("你好", "今天天气很好。"), Row.of("再见", "明天再见吧。")]
QUICK: dict[str, Any] = {
    "method": "prefix", "prefix_tokens": 6, "learning_rate": 5e-2, "batch_rows": 3, "max_tokens": 64, "samples": 0,
    "warmup": 0.0, "schedule": "constant", "max_steps": 15, "checkpoint_every": 15,
}  # fmt: skip
needs_checkpoints = pytest.mark.skipif(not ROOT.is_dir(), reason="the reference checkpoints are not here")


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def trained(kind: str, **changes: Any) -> Run:
    run = new_run(save_set("rows", ROWS, ()), str(ROOT / kind), TrainSettings.from_dict(QUICK | changes))
    (run.folder / "params.json").write_text("{}", encoding="utf-8")
    train(Emitter(run.folder))
    return run


def network(kind: str) -> Any:
    place = ROOT / kind
    return open_model(find(place), place, LoadPlan(device="cpu", precision="float32")).requires_grad_(False)


def encoded(kind: str, rows: list[Row], settings: TrainSettings) -> Any:
    with reading(find(ROOT / kind), ROOT / kind) as chat:
        return trainable(chat, rows, settings)[0]


@needs_checkpoints
@pytest.mark.parametrize(("kind", "checkpointing"), [("chatglm", False), ("chatglm2", False), ("chatglm3", True)])
def test_a_prefix_learns_and_answers_from_the_bases_own_weights(closed: Path, kind: str, checkpointing: bool) -> None:
    run = trained(kind, checkpointing=checkpointing)
    losses = [event["loss"] for event in run.events() if event["event"] == "step"]
    assert losses[-1] < losses[0] - 0.5
    folder = run.checkpoints[-1].folder
    assert list(load_file(folder / PREFIX)) == [EMBEDDING] and AdapterNote.read(folder) is not None
    entry = tuned_entry(run, checkpoint_of(run, None))
    with_prefix, without = (ask(e, ROWS[0], 8) for e in (entry, replace(entry, adapter=None)))
    assert with_prefix != without
    out = export(run, run.checkpoints[-1], "prefix", closed / "out")
    official = torch.load(out / "pytorch_model.bin", weights_only=True)
    assert list(official) == [EMBEDDING]
    assert ask(find(out), ROWS[0], 8) == with_prefix, "an official checkpoint answers as the adapter does"


@needs_checkpoints
@pytest.mark.parametrize("kind", KINDS)
def test_every_layers_prefix_gets_a_gradient(data_folder: Path, kind: str) -> None:
    settings = TrainSettings.from_dict(QUICK)
    rows = encoded(kind, ROWS, settings)
    model = network(kind)
    passes = Passes(model)
    learnt = Prefix(model, settings)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
            model.train()
        learnt.train(False)
        learnt.encoder.zero_grad()
        passes.loss(rows[:1]).backward()
        gradient = learnt.encoder.embedding.weight.grad
        assert gradient is not None
        found.append(gradient.clone())
    assert torch.allclose(*found, atol=1e-6), "activations that are reckoned twice give the same"
    by_layer = gradient.view(len(gradient), *learnt.encoder.shape).abs().amax(dim=(0, 3, 4))
    assert (by_layer > 0).all(), "keys and values of every layer"


@needs_checkpoints
def test_a_prefix_moves_no_position(data_folder: Path) -> None:
    """As the published code has it: keys and values that were there before, and positions that begin at 0."""
    model = network("chatglm2")
    ids = torch.tensor([encoded("chatglm2", ROWS[:1], TrainSettings())[0].ids])
    cache = DynamicCache()
    learnt = Prefix(model, TrainSettings.from_dict(QUICK))
    learnt.train(False)
    for layer, (key, value) in enumerate(learnt.encoder(torch.float32)):
        cache.update(key[None], value[None], layer)
    found = model(input_ids=ids, use_cache=False).logits
    give(model, None)
    length = ids.shape[1]
    visible = torch.ones(length, QUICK["prefix_tokens"] + length).tril(QUICK["prefix_tokens"])
    mask = torch.zeros_like(visible).masked_fill(visible == 0, torch.finfo(torch.float32).min)
    wanted = model(
        input_ids=ids, past_key_values=cache, position_ids=torch.arange(length)[None], attention_mask=mask[None, None]
    ).logits
    assert torch.allclose(found, wanted, atol=1e-4)


@needs_checkpoints
def test_dropout_is_for_learning_only(data_folder: Path) -> None:
    learnt = Prefix(network("chatglm2"), TrainSettings.from_dict(QUICK))
    learnt.train(True)
    zeros = [float((keys == 0).float().mean()) for keys, _ in learnt.encoder(torch.float32)]
    assert 0.02 < sum(zeros) / len(zeros) < 0.25
    learnt.train(False)
    assert all(bool((keys != 0).all()) for keys, _ in learnt.encoder(torch.float32))


@needs_checkpoints
def test_rows_are_the_published_recipes(data_folder: Path) -> None:
    long = Row.of("你好" * 100, "好" * 100)
    (row,) = encoded("chatglm", [long], CHATGLM_PREFIX)
    assert len(row.ids) <= 128 and row.trained_tokens <= 64 + 1 and row.pieces[-1].text == "<eop>"
    first = row.places[0]
    assert [piece.text for piece in row.pieces[first - 1 : first + 1]] == ["[gMASK]", "<sop>"]
    (row,) = encoded("chatglm", ROWS[:1], CHATGLM_PREFIX)
    answer = [piece for piece in row.pieces if piece.kind == "assistant"]
    assert row.trained_tokens == len(answer) + 2, "<sop>, the answer, <eop>"
    (row,) = encoded("chatglm3", ROWS[:1], CHATGLM_PREFIX)
    assert row.pieces[row.places[0] - 1].text == "<|assistant|>", "the line for a tool's name is learnt too"


def test_a_prefix_of_the_published_sizes_has_the_published_number_of_parameters() -> None:
    six = ChatGLMConfig(num_hidden_layers=28, num_attention_heads=32, hidden_size=4096)
    six.pre_seq_len, six.prefix_projection = 128, False
    published = {
        "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 28,
        "num_attention_heads": 32, "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 128,
        "seq_length": 32768, "layernorm_epsilon": 1e-5, "pre_seq_len": 128,
    }  # fmt: skip
    for config, count in ((six, 29_360_128), (glm_config(published), 1_835_008)):
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in PrefixEncoder(config).parameters()) == count


def test_other_networks_are_refused_with_what_to_do(data_folder: Path) -> None:
    place = tiny.base(data_folder / "base")
    model = open_model(find(place), place, LoadPlan(device="cpu", precision="float32"))
    with pytest.raises(CannotTune, match="choose LoRA"):
        Prefix(model, TrainSettings.from_dict(QUICK))


@needs_checkpoints
def test_a_score_that_is_no_number_is_seen_in_training(data_folder: Path) -> None:
    model = network("chatglm")
    model.transformer.layers[0].mlp.dense_h_to_4h.bias.data[0] = float("nan")
    rows = encoded("chatglm", ROWS, TrainSettings.from_dict(QUICK))
    passes = Passes(model)
    model.train()
    assert not passes.loss(rows[:1]).isfinite()
