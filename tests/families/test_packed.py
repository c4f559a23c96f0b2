"""Packed weights multiply as their unpacked values do, whichever way they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from llm.checkpoints import checkpoint_loader
from llm.checkpoints.gptq import loader
from llm.checkpoints.packed import ChatGLMLinear, GptqLinear
from tests.families import small_checkpoints as small

GROUP = 32


def pack(weight: torch.Tensor, bits: int, order: torch.Tensor | None = None) -> tuple[small.Tensors, torch.Tensor]:
    """GPTQ's tensors for a weight (outputs, inputs), and the weight that they stand for."""
    outputs, inputs = weight.shape
    largest, per_word = 2**bits - 1, 32 // bits
    group = torch.arange(inputs) // GROUP if order is None else order
    groups = int(group.max()) + 1
    scale, zero = torch.empty(groups, outputs), torch.empty(groups, outputs)
    for place in range(groups):
        part = weight[:, group == place]
        scale[place] = (part.amax(1) - part.amin(1)).clamp(min=1e-3) / largest
        zero[place] = (-part.amin(1) / scale[place]).round().clamp(1, largest)
    scale = scale.half().float()
    levels = (weight.T / scale[group] + zero[group]).round().clamp(0, largest)
    shifts = torch.arange(0, 32, bits)
    words = (levels.long().view(-1, per_word, outputs) << shifts[None, :, None]).sum(1)
    zeros = ((zero.long() - 1).view(groups, -1, per_word) << shifts).sum(-1)
    tensors = {"qweight": words, "qzeros": zeros, "g_idx": group}
    packed = {name: (tensor % 2**32).to(torch.uint32).view(torch.int32) for name, tensor in tensors.items()}
    return packed | {"scales": scale.half()}, ((levels - zero[group]) * scale[group]).T


def layer_of(tensors: small.Tensors, bits: int) -> GptqLinear:
    layer = GptqLinear({name: tuple(tensor.shape) for name, tensor in tensors.items()}, bits, zero_offset=1)
    layer.load_state_dict(tensors)
    return layer.float()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gptq_unpacked_for_each_product(bits: int) -> None:
    tensors, weight = pack(random(48, 64), bits)
    layer = layer_of(tensors, bits)
    x = random(5, 64)
    assert torch.allclose(layer.weight_of(torch.float32), weight, atol=1e-6)
    assert torch.allclose(layer(x), x @ weight.T, atol=1e-4)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 100])
def test_gptq_with_a_kernel(bits: int, rows: int) -> None:
    tensors, weight = pack(random(48, 128), bits, torch.arange(128) // 64)
    layer = layer_of(tensors, bits)
    layer.use_kernel(torch.bfloat16)
    assert layer.kernel is not None and layer.qweight is None
    x = random(2, rows, 128).bfloat16()
    assert torch.allclose(layer(x).float(), x.float() @ weight.T, atol=0.3, rtol=0.02)


@pytest.mark.parametrize("bits", [4, 8])
def test_chatglm_with_a_kernel(bits: int) -> None:
    weight = torch.randint(-128, 128, (48, 128 * bits // 8), dtype=torch.int8)
    tensors = {"weight": weight, "weight_scale": random(48).abs() / 2**bits}
    layer = ChatGLMLinear({name: tuple(tensor.shape) for name, tensor in tensors.items()}, bits)
    layer.load_state_dict(tensors)
    unpacked = layer.weight_of(torch.float32)
    layer.use_kernel(torch.bfloat16)
    assert layer.kernel is not None
    x = random(3, 128).bfloat16()
    y = x.float() @ unpacked.T
    assert torch.allclose(layer(x).float(), y, atol=0.02 * float(y.std()), rtol=0.02)


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_with_inputs_out_of_order(bits: int) -> None:
    """`desc_act`: a group's inputs don't stand together."""
    order = torch.randperm(128, generator=torch.Generator().manual_seed(1)) // 64
    tensors, weight = pack(random(48, 128), bits, order)
    layer = layer_of(tensors, bits)
    x = random(5, 128)
    assert torch.allclose(layer(x), x @ weight.T, atol=1e-4)
    layer.use_kernel(torch.bfloat16)
    assert layer.kernel is not None
    assert torch.allclose(layer(x.bfloat16()).float(), x @ weight.T, atol=0.3, rtol=0.02)


def test_gptq_whose_groups_differ_in_size() -> None:
    """The kernel needs as many inputs in each group; the layer multiplies without it."""
    order = (torch.arange(64) >= 40).long()
    tensors, weight = pack(random(600, 64), 4, order)
    layer = layer_of(tensors, 4)
    layer.use_kernel(torch.bfloat16)
    assert layer.kernel is None
    x = random(2, 3, 64).bfloat16()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), x.float() @ weight.T, atol=0.1, rtol=0.01)


def test_gptq_checkpoint_of_a_native_line(tmp_path: Path) -> None:
    """A Qwen2 whose linear layers are packed gives what it gives with the same values unpacked."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(5)
    plain = Qwen2ForCausalLM(config).eval()
    stored: small.Tensors = {}
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                tensors, weight = pack(module.weight, 4)
                module.weight.copy_(weight)
                stored |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
                stored[f"{name}.bias"] = torch.zeros(len(weight)) if module.bias is None else module.bias.data
    stored |= {name: tensor for name, tensor in plain.state_dict().items() if f"{name[:-7]}.qweight" not in stored}
    small.write_shards(tmp_path, stored, "safetensors", 2)
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}
    small.write_json(tmp_path / "config.json", config.to_dict() | {"quantization_config": quantization})
    values = json.loads((tmp_path / "config.json").read_text())
    assert checkpoint_loader(values) is loader
    packed = loader.load_model(tmp_path, values, dtype=torch.float32)
    ids = torch.tensor([[3, 14, 15, 92, 65]])
    with torch.inference_mode():
        assert torch.allclose(packed(ids).logits, plain(ids).logits, atol=1e-3)
    assert not any(isinstance(module, torch.nn.Linear) for module in packed.model.layers.modules())
