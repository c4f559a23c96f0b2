"""The reference checkpoints beside the repository: their cases, and the conversations as Hearth's messages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from llm.messages import BoxPart, ImagePart, Message, Part, RefPart, TextPart, ToolCallPart, ToolResultPart

_GROUNDING = re.compile(r"<ref>(.*?)</ref>|<box>\((\d+),(\d+)\),\((\d+),(\d+)\)</box>", re.DOTALL)
ROOT = Path(__file__).parents[2].parent / "shared" / "checkpoints"
FOLDERS = (
    "chatglm", "chatglm-int4", "chatglm2", "chatglm3", "qwen",
    "baichuan2-7b", "baichuan2-13b", "qwen-vl-chat", "qwen-vl-chat-int4",
)  # fmt: skip

# Cases whose user types tags that the original lets through. Here they stay text, so ids differ on purpose.
TYPED_TAGS = {
    "chatglm": {"special_recognised"},
    "baichuan2": {"special_lookalike"},
    "qwen-vl": {"special_lookalike", "ref_box_in_prompt"},
}


@dataclass(frozen=True)
class Case:
    """One recorded prompt of a folder."""

    folder: str
    values: dict[str, Any]
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.folder}-{self.values['name']}"

    @property
    def ids(self) -> list[int]:
        return self.values["input_ids"]

    @property
    def types_tags(self) -> bool:
        return any(
            self.folder.startswith(family) and self.values["name"] in names for family, names in TYPED_TAGS.items()
        )


def expected(folder: str) -> dict[str, Any]:
    return json.loads((ROOT / folder / "expected.json").read_text(encoding="utf-8"))


@cache
def reference(folder: str) -> dict[str, Any]:
    """The recorded tensors of a folder."""
    from safetensors.torch import load_file

    return load_file(ROOT / folder / "expected.safetensors")


def cases(*folders: str) -> list[Case]:
    """Every recorded prompt; nothing where the folders are not there."""
    return [
        case_of(folder, values)
        for folder in folders or FOLDERS
        if (ROOT / folder).is_dir()
        for values in expected(folder)["prompts"]
    ]


def case_of(folder: str, values: dict[str, Any]) -> Case:
    recorded = values.get("messages", [])
    tools = next((message["tools"] for message in recorded if "tools" in message), [])
    return Case(folder, values, [_message(folder, message) for message in recorded], tools)


def case_named(folder: str, case_id: str) -> Case:
    return next(case for case in cases(folder) if case.values["id"] == case_id)


def _message(folder: str, recorded: dict[str, Any]) -> Message:
    content = recorded["content"]
    if recorded["role"] == "observation":
        return Message("tool", (ToolResultPart("call_0", "", content),))
    if recorded.get("metadata"):
        return Message("assistant", (_call(recorded["metadata"], content),))
    if isinstance(content, list):
        return Message(recorded["role"], tuple(part for item in content for part in _list_item(folder, item)))
    if recorded["role"] == "assistant" and folder.startswith("qwen-vl"):
        return Message("assistant", parts_of_answer(content))
    return Message(recorded["role"], (TextPart(content),))


def _list_item(folder: str, item: dict[str, Any]) -> tuple[Part, ...]:
    """Parts for one item of Qwen-VL's list format."""
    if "image" in item:
        return (ImagePart((ROOT / folder / item["image"]).read_bytes()),)
    if "box" in item:
        boxes = item["box"] if isinstance(item["box"][0], list) else [item["box"]]
        named = (RefPart(item["ref"]),) if "ref" in item else ()
        return (*named, *(BoxPart(*box) for box in boxes))
    return parts_of_answer(item["text"])


def _call(name: str, code: str) -> ToolCallPart:
    arguments = dict(re.findall(r"(\w+)='([^']*)'", code))
    return ToolCallPart("call_0", name, json.dumps(arguments, ensure_ascii=False))


def without_pictures(ids: list[int], begin: int | None, end: int | None) -> list[int]:
    """Ids with -1 for what stands inside a picture, which need not match."""
    inside, result = False, []
    for token_id in ids:
        inside = inside and token_id != end
        result.append(-1 if inside else token_id)
        inside = inside or (begin is not None and token_id == begin)
    return result


def parts_of_answer(text: str) -> tuple[Part, ...]:
    """An answer as parts: what it names (`<ref>`) and where that is (`<box>`); all else is text."""
    parts: list[Part] = []
    position = 0
    for match in _GROUNDING.finditer(text):
        if match.start() > position:
            parts.append(TextPart(text[position : match.start()]))
        reference, *corners = match.groups()
        parts.append(BoxPart(*map(int, corners)) if reference is None else RefPart(reference))
        position = match.end()
    if position < len(text):
        parts.append(TextPart(text[position:]))
    return tuple(parts)
