"""8-bit and 4-bit layers on a CPU give what the weights before rounding gave, up to what so few bits can hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_checkpoints
import torch
from tiny_engines import load

from llm.engines.transformers.quantized_linear import UNPACK_FROM_ROWS, RoundedLinear
from llm.errors import CorruptModel
from llm.plan import LoadPlan

BOUNDS = {8: 0.015, 4: 0.10}
"""A level is 1/254 of a row's range in 8 bits, 1/30 of a group's in 4: 0.8 and 7.8 % of normally spread weights."""


def off_by(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found.float() - exact.float()).norm() / exact.float().norm()).item()


def layer_of(weight: torch.Tensor, bits: int, bias: torch.Tensor | None = None, **options: bool) -> RoundedLinear:
    outputs, inputs = weight.shape
    layer = RoundedLinear(inputs, outputs, bias is not None, bits, options.get("has_bfloat16", False))
    layer.take(weight)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return layer


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(64, 64), (17, 33), (1, 5), (300, 96), (700, 129)])
def test_products(bits, shape):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    layer = layer_of(weight, bits)
    for rows in (1, 7, 64, UNPACK_FROM_ROWS, 257):
        x = torch.randn(2, rows, shape[1])
        found = layer(x)
        assert found.shape == (2, rows, shape[0]) and found.dtype == x.dtype
        # So few products as a matrix of 5 gives are further off now and then.
        assert off_by(found, x @ weight.t()) < BOUNDS[bits] * (1 if weight.numel() > 1000 else 3)


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_many_rows_give_what_few_give(has_bfloat16):
    torch.manual_seed(0)
    layer = layer_of(torch.randn(600, 128), 8, has_bfloat16=has_bfloat16)
    x = torch.randn(UNPACK_FROM_ROWS, 128, dtype=torch.bfloat16)
    assert off_by(layer(x), torch.cat([layer(row[None]) for row in x])) < 0.006


@pytest.mark.parametrize("bits", [8, 4])
def test_bias_zeros_and_lone_large_weights(bits):
    weight = torch.zeros(32, 64)
    weight[3, 5] = 1000.0
    bias = torch.arange(32.0)
    found = layer_of(weight, bits, bias)(torch.ones(1, 64))[0]
    expected = bias.clone()
    expected[3] += 1000.0
    assert torch.isfinite(found).all() and torch.allclose(found, expected, rtol=0.01, atol=0.05)


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_checkpoints(tmp_path: Path, family, precision):
    """gpt2 holds its matrices the other way round."""
    folder = tiny_checkpoints.save_checkpoint(tmp_path / family, family)
    exact, rounded = (load(folder, LoadPlan(device="cpu", precision=p)) for p in ("float32", precision))
    kinds = [type(layer) for layer in rounded.model.modules()]
    assert kinds.count(RoundedLinear) >= 4
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        found, expected = rounded.model(ids).logits, exact.model(ids).logits
    assert off_by(found, expected) < (0.05 if precision == "int8" else 0.35)
    assert found.argmax(-1).eq(expected.argmax(-1)).float().mean() > (0.9 if precision == "int8" else 0.4)
    exact.close()
    rounded.close()


def test_a_missing_matrix_is_named(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = tiny_checkpoints.save_checkpoint(tmp_path / "llama", "llama")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptModel) as caught:
        load(folder, LoadPlan(device="cpu", precision="int8"))
    assert name in str(caught.value) and "1 tensors" in str(caught.value)
