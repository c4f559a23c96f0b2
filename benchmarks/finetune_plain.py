"""The script that `benchmarks.finetune` holds Hearth against: peft and transformers' Trainer as tutorials show them.

    python -m benchmarks.finetune_plain <model folder> <folder with rows.json> <steps>

Writes steps.json: tokens (without padding) and seconds of each step.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


class Timed(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


class Counting(DataCollatorForSeq2Seq):
    """The usual padding, and how many tokens were not padding."""

    def __call__(self, features: Any, return_tensors: Any = None) -> Any:
        TOKENS.append(sum(len(feature["input_ids"]) for feature in features))
        return super().__call__(features, return_tensors)


TOKENS: list[int] = []


def main(base: str, folder: Path, steps: int) -> None:
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    timed = Timed()
    arguments = TrainingArguments(
        output_dir=str(folder / "plain"),
        per_device_train_batch_size=8,
        max_steps=steps,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    data = [{"input_ids": ids, "labels": labels, "attention_mask": [1] * len(ids)} for ids, labels in rows]
    collator = Counting(tokenizer, padding=True)
    Trainer(model, arguments, train_dataset=data, data_collator=collator, callbacks=[timed]).train()
    counted = list(zip(TOKENS, timed.seconds, strict=False))
    (folder / "steps.json").write_text(json.dumps(counted), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
