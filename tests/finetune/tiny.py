"""Tiny models with adapters, made in code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from llm.catalogue.adapters import AdapterNote, fingerprint
from tests.engines.tiny_checkpoints import save_checkpoint

PROBE = (5, 9, 40, 77, 12)


def base(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    return save_checkpoint(folder, kind, **changes)


def adapter(model: Path, folder: Path, seed: int = 1, scale: float = 0.3, **changes: Any) -> tuple[Path, Any]:
    """A LoRA with random matrices in peft's layout with its note, and peft's own model, to hold against ours."""
    torch.manual_seed(seed)
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": targets, **changes})
    tuned = peft.get_peft_model(plain, settings).eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                parameter.normal_(0, scale)
            elif "magnitude" in name:
                parameter.mul_(torch.rand_like(parameter) + 0.5)
        logits = tuned(torch.tensor([PROBE])).logits[0, -1, :64]
    tuned.save_pretrained(folder)
    note = AdapterNote(str(model), fingerprint(model), "lora", folder.name, probe_ids=PROBE)
    note = AdapterNote(**{**{n: getattr(note, n) for n in note.__slots__}, "probe_logits": tuple(logits.tolist())})
    note.write(folder)
    return folder, tuned


@torch.inference_mode()
def greedy(model: Any, ids: list[int], tokens: int) -> list[int]:
    """What a model says after these ids, without any cache."""
    written = list(ids)
    for _ in range(tokens):
        written.append(int(model(torch.tensor([written])).logits[0, -1].argmax()))
    return written[len(ids) :]


@torch.inference_mode()
def expects(model: Any, ids: list[int], found: dict[int, float], rounding: float = 0.05) -> bool:
    """Whether a model gives the next token these log probabilities, up to the rounding of another engine's cache."""
    expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    return bool(found) and max(abs(float(expected[i]) - value) for i, value in found.items()) <= rounding
