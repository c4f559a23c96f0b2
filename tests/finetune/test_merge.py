"""A merged model says what the model with its adapter says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from llm.catalogue import gguf
from llm.catalogue.adapters import WEIGHTS
from llm.errors import AdapterRefused
from llm.finetune.merge import merge_checkpoint, merge_gguf
from llm.runtime import handles
from llm.settings import GenerationSettings
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf
from tests.finetune.test_gguf_adapters import IDS, likeliest

_SHORT = GenerationSettings(temperature=0, max_length=4)


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([IDS])).logits
    return found


@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_a_merged_checkpoint_is_the_model_with_its_adapter(closed: Path, changes: dict[str, Any]) -> None:
    model = tiny.base(closed / "base")
    folder, tuned = tiny.adapter(model, closed / "adapter", **changes)
    seen: list[tuple[int, int]] = []
    out = merge_checkpoint(model, folder, closed / "merged", lambda done, total: seen.append((done, total)))
    merged = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert torch.allclose(logits(merged), logits(tuned), atol=1e-4)
    assert (out / "tokenizer.json").is_file() and seen[-1][0] == seen[-1][1] > 0
    assert not list(closed.glob(".merged*"))


def test_a_merged_gguf_is_the_model_with_its_adapter(closed: Path) -> None:
    model = tiny.base(closed / "base")
    folder, tuned = tiny.adapter(model, closed / "adapter")
    for kind in (numpy.float32, numpy.float16):
        base = to_gguf(model, closed / f"{kind.__name__}.gguf", kind)
        out = merge_gguf(base, folder, closed / f"merged-{kind.__name__}.gguf")
        assert tiny.expects(tuned, IDS, likeliest(str(out)), rounding=0.1)
        header, before = gguf.read_header(out), gguf.read_header(base)
        assert header.chat_template == before.chat_template and header.file_type == before.file_type


def test_a_gguf_of_few_bits_is_merged_into_eight(closed: Path, starter_file: Path) -> None:
    """The starter's own file, with an adapter that changes one matrix."""
    shape = gguf.read_header(starter_file).shape
    name = "base_model.model.model.layers.3.mlp.up_proj.lora_"
    torch.manual_seed(0)
    tensors = {
        f"{name}A.weight": torch.randn(4, shape.hidden) * 0.05,
        f"{name}B.weight": torch.randn(shape.intermediate, 4) * 0.05,
    }
    folder = closed / "adapter"
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    out = merge_gguf(starter_file, folder, closed / "merged.gguf")
    before, after = gguf.read_header(starter_file), gguf.read_header(out)
    kinds = {tensor.name: tensor.type for tensor in after.tensors}
    assert kinds["blk.3.ffn_up.weight"] == "Q8_0"
    assert {t.name for t in before.tensors if t.type != kinds[t.name]} == {"blk.3.ffn_up.weight"}
    answer = "".join(getattr(event, "text", "") for event in handles.chat(out).complete("Once upon", _SHORT))
    assert answer.strip()


def test_a_key_without_a_place_is_refused_and_nothing_stays(closed: Path) -> None:
    model = tiny.base(closed / "base")
    folder, _ = tiny.adapter(model, closed / "adapter")
    tensors = load_file(folder / WEIGHTS)
    save_file({key.replace("layers.0.", "layers.7."): value for key, value in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(AdapterRefused, match=r"layers\.7"):
        merge_checkpoint(model, folder, closed / "merged")
    assert not (closed / "merged").exists() and not list(closed.glob(".merged*"))
