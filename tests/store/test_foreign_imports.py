"""Conversations of other programs come in with their branches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm.errors import BadImport
from llm.store.imports import read

CASES = Path(__file__).parent
ASKED = {"role": "bot", "content": "b"}


def case(name: str) -> Any:
    (found,) = read((CASES / f"import_{name}.json").read_bytes())
    return found


def said(found: Any) -> list[tuple[str, str, int | None]]:
    return [(m.message.role, m.message.text, m.parent) for m in found.messages]


def test_chatgpt_with_its_branches() -> None:
    found = case("chatgpt_conversations")
    rows = said(found)
    assert rows[:3] == [
        ("user", "写一个冒泡排序", None),
        ("assistant", "第一个回答", 0),
        ("assistant", "重新生成的回答", 0),
    ]
    assert rows[3][2] == 2 and found.active == 3 and "[image_asset_pointer]" in rows[3][1]
    assert found.values["title"] == "排序算法" and found.values["model"] == "gpt-4o"
    assert found.values["created_at"].year == 2024


def test_open_webui() -> None:
    found = case("openwebui")
    assert said(found) == [("user", "你好", None), ("assistant", "你好！", 0)]
    assert (found.values["title"], found.values["model"], found.active) == ("测试", "qwen2.5:0.5b", 1)


def test_plain_messages_keep_the_system_text_where_it_belongs() -> None:
    found = case("messages")
    assert said(found) == [("user", "hi", None), ("assistant", "hello", 0)]
    assert found.values["system_prompt"] == "你是助手" and found.active == 1


@pytest.mark.parametrize(
    "values",
    [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}],
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}],
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "user", "content": ""},
                {"role": "bot", "content": "b"},
            ]
        },
    ],
)
def test_lists_of_messages(values: Any) -> None:
    (found,) = read(json.dumps(values).encode())
    assert said(found) == [("user", "a", None), ("assistant", "b", 0)]


def test_circles_odd_values_and_strangers_are_refused_or_left_out() -> None:
    looped = {"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}, "c": {"parent": None, "message": 7}, "d": 3}}
    (found,) = read(json.dumps([looped]).encode())
    assert not found.messages
    for values in ([], {}, [1], {"a": 1}, [{"messages": [{"role": 1}]}], [{"mapping": {}}, {"x": 1}], "text", None):
        with pytest.raises(BadImport):
            read(json.dumps(values).encode())
