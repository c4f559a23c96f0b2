"""Older families load from their published layouts, as they would from a hub, and refuse what is broken."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import llm
from llm.cancel import Cancel
from llm.checkpoints import checkpoint_loader
from llm.engine import GeneratedToken
from llm.errors import CorruptModel, UnsupportedModel
from llm.events import TextDelta
from llm.messages import assistant, system, user
from llm.plan import LoadPlan
from llm.settings import GenerationSettings
from tests.families import small_checkpoints as small

LAYOUTS: dict[str, Callable[..., small.Tensors]] = {
    "chatglm": small.chatglm,
    "chatglm3": small.chatglm3,
    "qwen": small.qwen,
    "baichuan-7b": small.baichuan,
    "baichuan-13b": lambda folder, **kwargs: small.baichuan(folder, alibi=True, **kwargs),
}
FLOAT32 = LoadPlan(device="cpu", precision="float32")
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def model_of(folder: Path) -> Any:
    """The model alone, without an engine."""
    config = json.loads((folder / "config.json").read_text())
    loader = checkpoint_loader(config)
    assert loader is not None
    return loader.load_model(folder, config, dtype=torch.float32)


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return dict(model_of(folder).named_parameters())


@by_layout
def test_answers_through_the_engine(layout: str, tmp_path: Path, data_folder: Path) -> None:
    LAYOUTS[layout](tmp_path)
    handle = llm.load(tmp_path, FLOAT32)
    prompt = handle.prompt([system("You are kind."), user("Hello"), assistant("Hi!"), user("今天天气好吗？")])
    assert "今天天气好吗" in prompt.text and len(prompt.ids) > 8
    settings = GenerationSettings(temperature=0, max_length=6)
    steps = list(handle.engine.generate(prompt, settings, frozenset(), Cancel()))
    assert sum(isinstance(step, GeneratedToken) for step in steps) == 6


@by_layout
def test_answers_follow_a_schema(layout: str, tmp_path: Path, data_folder: Path) -> None:
    LAYOUTS[layout](tmp_path)
    handle = llm.load(tmp_path, FLOAT32)
    schema = {"type": "array", "items": {"enum": ["red", "a 红"]}, "minItems": 2, "maxItems": 3}
    events = handle.stream([user("今天天气好吗？")], GenerationSettings(max_length=80, json_schema=schema))
    written = json.loads("".join(event.text for event in events if isinstance(event, TextDelta)))
    assert set(written) <= {"red", "a 红"} and len(written) in (2, 3)


@by_layout
@pytest.mark.parametrize(("form", "shards"), [("bin", 1), ("safetensors", 1), ("safetensors", 3), ("bin", 3)])
def test_every_way_of_storing_is_the_same(layout: str, form: str, shards: int, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    LAYOUTS[layout](first)
    LAYOUTS[layout](second, form=form, shards=shards)
    one, other = parameters(first), parameters(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_glm_tensors_take_their_places(tmp_path: Path) -> None:
    stored = small.chatglm3(tmp_path)
    held = parameters(tmp_path)
    fused = stored["transformer.encoder.layers.1.self_attention.query_key_value.weight"].float()
    assert torch.equal(held["model.layers.1.self_attn.q_proj.weight"], fused[:32])
    assert torch.equal(held["model.layers.1.self_attn.k_proj.weight"], fused[32:48])
    assert torch.equal(held["model.layers.1.self_attn.v_proj.weight"], fused[48:])


def test_qwen_gates_with_w2(tmp_path: Path) -> None:
    stored = small.qwen(tmp_path)
    held = parameters(tmp_path)
    assert torch.equal(held["model.layers.0.mlp.gate_proj.weight"], stored["transformer.h.0.mlp.w2.weight"].float())
    assert torch.equal(held["model.layers.0.mlp.up_proj.weight"], stored["transformer.h.0.mlp.w1.weight"].float())


@pytest.mark.parametrize(("vocabulary", "normalised"), [(640, True), (64000, False)])
def test_only_baichuan2_has_a_normalised_head(vocabulary: int, normalised: bool) -> None:
    from llm.checkpoints.baichuan import loader
    from llm.checkpoints.loading import StoredTensor

    head = StoredTensor(Path("x"), 0, torch.float32, (4, 8))
    tensors = loader.tensors({"lm_head.weight": head}, {"vocab_size": vocabulary, "hidden_size": 8})
    assert (tensors["lm_head.weight"].then is not None) == normalised


@pytest.mark.parametrize("bits", [4, 8])
def test_chatglm_packed_rows(bits: int, tmp_path: Path) -> None:
    stored = small.chatglm(tmp_path, bits=bits)
    layer = model_of(tmp_path).transformer.layers[0].mlp.dense_h_to_4h
    name = "transformer.layers.0.mlp.dense_h_to_4h"
    packed, scale = stored[f"{name}.weight"], stored[f"{name}.weight_scale"].float()
    values = packed if bits == 8 else torch.stack((packed >> 4, packed << 4 >> 4), -1).flatten(1)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    expected = x @ (values.float() * scale[:, None]).T + stored[f"{name}.bias"].float()
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_qwen_beyond_the_trained_length_alone_and_padded(tmp_path: Path) -> None:
    """NTK and log-n follow each row's own prompt, whoever is beside it."""
    small.qwen(tmp_path)
    model = model_of(tmp_path)
    lengths, longest = (150, 40, 64), 150
    rows = [[(place * 7 + length) % 250 for place in range(length)] for length in lengths]
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    options: dict[str, Any] = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    together = model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()
    for row, answer in zip(rows, together, strict=True):
        alone = model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row)), **options)
        assert alone[0, len(row) :].tolist() == answer


@by_layout
def test_missing_shard(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, shards=2)
    lost = sorted(tmp_path.glob("*-00002-of-00002.*"))[0]
    lost.unlink()
    with pytest.raises(CorruptModel, match=lost.name):
        model_of(tmp_path)


@by_layout
@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("kept", [0.9, 0.3])
def test_truncated_file(layout: str, form: str, kept: float, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, form=form, shards=2)
    file = sorted(tmp_path.glob("*-00001-of-00002.*"))[0]
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(CorruptModel, match=file.name):
        model_of(tmp_path)


def test_missing_tensor_and_wrong_shape(tmp_path: Path) -> None:
    stored = small.qwen(tmp_path, shards=1)
    lost = stored.pop("transformer.h.1.mlp.w1.weight")
    small.write_shards(tmp_path, stored, "safetensors", 1)
    with pytest.raises(CorruptModel, match=r"model\.layers\.1\.mlp\.up_proj"):
        model_of(tmp_path)
    small.write_shards(tmp_path, stored | {"transformer.h.1.mlp.w1.weight": lost[:-1]}, "safetensors", 1)
    with pytest.raises(CorruptModel, match=r"model\.safetensors.*up_proj"):
        model_of(tmp_path)


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("chatglm3", {"rmsnorm": False}),
        ("chatglm3", {"add_bias_linear": True}),
        ("chatglm", {"position_encoding_2d": False}),
        ("chatglm", {"quantization_bit": 3}),
        ("qwen", {"rotary_pct": 0.5}),
        ("qwen", {"quantization_config": {"quant_method": "awq", "bits": 4}}),
        ("qwen", {"quantization_config": {"quant_method": "gptq", "bits": 3}}),
    ],
)
def test_unknown_variant(layout: str, changes: dict[str, Any], tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, **changes)
    with pytest.raises(UnsupportedModel, match=r"config\.json"):
        model_of(tmp_path)


def test_damaged_vocabularies(tmp_path: Path) -> None:
    from llm.checkpoints import qwen
    from llm.families.sentencepiece_spans import load_processor

    small.qwen(tmp_path)
    ranks = tmp_path / "qwen.tiktoken"
    ranks.write_bytes(ranks.read_bytes()[:100])
    with pytest.raises(CorruptModel, match=r"qwen\.tiktoken"):
        qwen.loader.load_tokenizer(tmp_path, json.loads((tmp_path / "config.json").read_text()))
    (tmp_path / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(CorruptModel, match=r"tokenizer\.model"):
        load_processor(tmp_path / "tokenizer.model")


MEASURE = """
    import json, sys
    from pathlib import Path
    import torch, torch._subclasses.fake_tensor, transformers.models.qwen2.modeling_qwen2
    import transformers.models.llama.modeling_llama
    from llm.checkpoints import baichuan_model, chatglm2_model, chatglm_model, qwen_model
    from llm.checkpoints import checkpoint_loader

    def kilobytes(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    loader = checkpoint_loader(config)
    before = kilobytes("VmRSS:")
    model = loader.load_model(folder, config, dtype=getattr(torch, sys.argv[2]))
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    print((kilobytes("VmHWM:") - before) * 1024, size)
"""


HEAPS = 64e6
"""What torch and the heaps of its threads keep after their first use: 25 to 50 MB from run to run, for a model of any
size; nothing beside one of 12 GB, a quarter of the smallest here."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak memory from /proc")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (small.chatglm3, {"form": "bin", "shards": 1}),
        (small.chatglm, {"form": "bin", "shards": 1}),
        (small.chatglm, {"form": "bin", "shards": 2, "bits": 4}),
        (small.qwen, {"form": "bin", "shards": 1}),
        (small.qwen, {"form": "safetensors", "shards": 2}),
        (small.baichuan, {"form": "bin", "shards": 1}),
        (small.baichuan, {"form": "bin", "shards": 2, "alibi": True}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "-".join(map(str, value.values())),
)
def test_loading_takes_little_more_than_the_weights(make: Any, options: Any, dtype: str, tmp_path: Path) -> None:
    """Also where tensors are converted, and where all lie in one file."""
    times = 16 if make is small.chatglm else 32
    make(tmp_path, **options, times=times, layers=24 if options.get("bits") else 8)
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path), dtype]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    peak, size = (float(word) for word in finished.stdout.split()[-2:])
    print(f"peak {peak / 1e6:.0f} MB for {size / 1e6:.0f} MB of weights: {peak / size:.2f}")
    assert peak <= 1.15 * size + HEAPS
