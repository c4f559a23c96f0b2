"""Families by name, and which loader takes a checkpoint that transformers doesn't know.

Modules are imported on first use, so that asking for one family never pays for another's imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from llm.families.base import CheckpointLoader, Family
from llm.families.template import TemplateFamily

# Family name -> module with a `family` object. Every other name is served by the chat template that the
# checkpoint itself carries.
FAMILY_MODULES: dict[str, str] = {
    "baichuan": "llm.families.baichuan",
    "chatglm": "llm.families.chatglm",
    "chatglm2": "llm.families.chatglm2",
    "chatglm3": "llm.families.chatglm3",
    "qwen": "llm.families.qwen",
    "qwen-vl": "llm.families.qwen_vl",
}

# Modules with a `loader` object, asked in this order.
LOADER_MODULES: list[str] = [
    "llm.families.baichuan",
    "llm.families.chatglm",
    "llm.families.chatglm2",
    "llm.families.qwen",
    "llm.checkpoints.gptq",
]


@cache
def family(name: str) -> Family:
    """The conventions of one model line; a line without a module of its own follows its chat template."""
    module = FAMILY_MODULES.get(name)
    found: Family = import_module(module).family if module else TemplateFamily(name)
    return found


def checkpoint_loader(config: Mapping[str, Any]) -> CheckpointLoader | None:
    """The loader that takes a checkpoint with this config.json; None when transformers is to try."""
    for module in LOADER_MODULES:
        loader: CheckpointLoader = import_module(module).loader
        if loader.matches(config):
            return loader
    return None
