"""The same run with other people's tools: LLaMA-Factory's file of settings, and a script of peft and transformers."""

from __future__ import annotations

import json
from pathlib import Path

from llm.finetune.run import RunConfig
from llm.finetune.settings import TrainSettings

_TARGETS = {"all": "all", "attention": "q_proj,k_proj,v_proj,o_proj", "qv": "q_proj,v_proj"}
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def llamafactory_yaml(asked: RunConfig, base: str) -> str:
    """A file for `llamafactory-cli train`; the rows go beside it as a data set of that name.

    Args:
        base: the model's repository or folder there.
    """
    settings = asked.settings
    lines = {
        "model_name_or_path": base,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full" if settings.method == "full" else "lora",
        **({"quantization_bit": 4, "double_quantization": True} if settings.method == "qlora" else {}),
        **(_lora(settings) if settings.method in ("lora", "qlora") else {}),
        "dataset": "hearth",
        "dataset_dir": ".",
        "cutoff_len": settings.max_tokens,
        "train_on_prompt": False,
        "mask_history": settings.turns == "last",
        "output_dir": f"saves/{asked.name or 'run'}",
        "per_device_train_batch_size": settings.batch_rows,
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        **({"max_steps": settings.max_steps} if settings.max_steps else {"num_train_epochs": settings.epochs}),
        "lr_scheduler_type": _SCHEDULES[settings.schedule],
        "warmup_ratio": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.clip,
        "bf16": settings.precision == "bfloat16",
        "seed": settings.seed,
        "logging_steps": 1,
        **({"save_steps": settings.checkpoint_every} if settings.checkpoint_every else {}),
    }
    # JSON's scalars and strings are YAML's.
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in lines.items())


def _lora(settings: TrainSettings) -> dict[str, object]:
    return {
        "lora_rank": settings.rank,
        "lora_alpha": int(settings.alpha),
        "lora_dropout": settings.dropout,
        "lora_target": _TARGETS[settings.targets],
        "use_rslora": settings.rslora,
        "use_dora": settings.dora,
    }


def llamafactory_data() -> str:
    """`dataset_info.json` for the rows, which are in OpenAI's layout."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages"}
    entry = {"file_name": "rows.jsonl", "formatting": "sharegpt", "columns": columns}
    return json.dumps({"hearth": entry | {"tags": tags | {"system_tag": "system"}}}, indent=1)


def peft_script() -> str:
    """A program of peft and transformers that reads `recipe.json` and `rows.jsonl` beside it."""
    return Path(__file__).with_name("plain_peft.py").read_text(encoding="utf-8")


def recipe_json(asked: RunConfig, base: str) -> str:
    """What the program of `peft_script` reads: the base and every value of the run."""
    return json.dumps({"base": base, "settings": asked.settings.to_dict()}, indent=1, ensure_ascii=False)
