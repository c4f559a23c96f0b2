"""Families by name.

Modules are imported on first use, so that asking for one family never pays for another's imports.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from llm.families.base import Family
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


@cache
def family(name: str) -> Family:
    """The conventions of one model line; a line without a module of its own follows its chat template."""
    module = FAMILY_MODULES.get(name)
    found: Family = import_module(module).family if module else TemplateFamily(name)
    return found
