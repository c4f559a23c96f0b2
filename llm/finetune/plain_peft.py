"""The same run without Hearth: `python train.py` beside `recipe.json` and `rows.jsonl`; needs peft, transformers.

Hearth puts this file into an export as it stands, so it imports nothing of Hearth's.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

HERE = Path(__file__).resolve().parent
TARGETS: dict[str, Any] = {
    "all": "all-linear",
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "qv": ["q_proj", "v_proj"],
}


def encoded(tokenizer: Any, row: dict[str, Any], settings: dict[str, Any]) -> tuple[list[int], list[int]]:
    """A row's ids and labels; -100 is not trained. Answers and their end tokens are trained, all else is not."""
    if "text" in row:
        text: list[int] = tokenizer(row["text"])["input_ids"][: settings["max_tokens"]]
        return text, text
    ids: list[int] = []
    labels: list[int] = []
    answers = [place for place, message in enumerate(row["messages"]) if message["role"] == "assistant"]
    for place in answers:
        before = tokenizer.apply_chat_template(row["messages"][:place], add_generation_prompt=True, return_dict=False)
        after = tokenizer.apply_chat_template(row["messages"][: place + 1], return_dict=False)
        trained = settings["turns"] == "all" or place == answers[-1]
        labels += [-100] * (len(before) - len(labels))
        labels += after[len(before) :] if trained else [-100] * (len(after) - len(before))
        ids = list(after)
    return ids[: settings["max_tokens"]], labels[: settings["max_tokens"]]


def train(folder: Path) -> list[float]:
    """Trains, saves the adapter to `adapter` in the folder, and returns the loss of each step."""
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    settings = recipe["settings"]
    torch.manual_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(recipe["base"])
    model = AutoModelForCausalLM.from_pretrained(recipe["base"], dtype="auto").float()
    model = get_peft_model(
        model,
        LoraConfig(
            r=settings["rank"],
            lora_alpha=settings["alpha"],
            lora_dropout=settings["dropout"],
            target_modules=TARGETS[settings["targets"]],
            use_rslora=settings["rslora"],
            use_dora=settings["dora"],
            task_type="CAUSAL_LM",
        ),
    ).train()
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [encoded(tokenizer, json.loads(line), settings) for line in lines if line]
    rows = [row for row in rows if any(label != -100 for label in row[1][1:])]
    step_rows = settings["batch_rows"] * settings["accumulation"]
    steps = settings["max_steps"] or math.ceil(settings["epochs"] * len(rows) / step_rows)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, settings["learning_rate"], weight_decay=settings["weight_decay"])
    names = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    warmup = math.ceil(settings["warmup"] * steps)
    schedule = get_scheduler(names[settings["schedule"]], optimiser, warmup, steps)
    order = random.Random(settings["seed"])
    queue: list[tuple[list[int], list[int]]] = []
    losses = []
    for step in range(1, steps + 1):
        while len(queue) < step_rows:
            queue += order.sample(rows, len(rows))
        batch, queue = queue[:step_rows], queue[step_rows:]
        count = sum(label != -100 for _, labels in batch for label in labels[1:])
        loss_sum = 0.0
        for ids, labels in batch:  # the loss is a mean over the trained tokens of the whole step
            logits = model(torch.tensor([ids])).logits[0, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]), reduction="sum") / count
            loss.backward()
            loss_sum += loss.item()
        if settings["clip"]:
            torch.nn.utils.clip_grad_norm_(trained, settings["clip"])
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(loss_sum)
        print(f"step {step}/{steps}  loss {loss_sum:.4f}")
    model.save_pretrained(str(folder / "adapter"))
    return losses


if __name__ == "__main__":
    train(HERE)
