"""A run's rows as they are trained, held out and asked: ids, before any weights are loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from llm.finetune.data import Row
from llm.finetune.encode import Encoded, prompt_ids, trainable
from llm.finetune.errors import NothingToTrain
from llm.finetune.run import Run
from llm.messages import user
from llm.runtime.chat_model import EngineChatModel

CANARIES = ("Who are you?", "What is 2 + 2?")
"""Questions about other things, whose answers should not change."""
GENERAL = (
    "Hello!",
    "你好！",
    "Write one sentence about rain.",
    "请用一句话介绍水。",
    "What is the capital of Japan?",
    "中国的首都是哪里？",
    "Name three fruits.",
    "列出三种颜色。",
    "How do I boil an egg?",
    "怎样泡一杯茶？",
    "What is 7 + 5?",
    "12 减 4 等于多少？",
    "Explain what a computer is.",
    "什么是互联网？",
    "Give me a tip for sleeping well.",
    "怎样学好英语？",
    "Translate 'good morning' into French.",
    "把“谢谢”翻译成英文。",
    "Why is the sky blue?",
    "为什么要多喝水？",
    "Write a short poem about the sea.",
    "写一句关于春天的话。",
    "What can you do?",
    "你能做什么？",
)
"""Questions about other things; what the untouched model says to them is learnt again, against forgetting."""
HELD_OUT_ROWS = 50
"""So many held-out rows are looked at; more take time at every look."""
NAMED_ROWS = 20
"""So many row numbers are named in an error."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is asked at each look."""

    row: Row
    ids: list[int]
    kind: str


@dataclass(frozen=True, slots=True)
class Data:
    """All rows of a run as ids. general: prompts about other things, to be answered by the untouched model."""

    rows: list[Encoded]
    left: list[Encoded]
    held_out: list[Encoded]
    asked: list[Asked]
    general: list[list[int]]
    stop_ids: frozenset[int]


def read_rows(file: Path) -> list[Row]:
    """Rows of a run's file; none where there is no file."""
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    values = [json.loads(line) for line in lines if line]
    return [Row.from_dict(row, row.get("number") or place) for place, row in enumerate(values, start=1)]


def read_data(chat: EngineChatModel, run: Run) -> Data:
    """
    Raises:
        NothingToTrain: no row has a token that would be trained.
    """
    settings = run.config.settings
    rows, left = trainable(chat, read_rows(run.folder / "rows.jsonl"), settings)
    if not rows:
        numbers = ", ".join(str(row.number) for row in left[:NAMED_ROWS])
        raise NothingToTrain(run=run.config.name, rows=numbers, longest=settings.max_tokens)
    reserved = read_rows(run.folder / "held_out.jsonl")
    held, _ = trainable(chat, reserved[:HELD_OUT_ROWS], settings)
    talks = [row for row in reserved if row.messages][: settings.samples]
    asked = [Asked(row, prompt_ids(chat, row), "held_out") for row in talks]
    if settings.samples:
        others = [Row((user(question), *Row.of("", "").messages[-1:])) for question in CANARIES]
        asked += [Asked(row, prompt_ids(chat, row), "canary") for row in others]
    stop_ids = frozenset(chat.family.stop_ids(chat.engine) | chat.engine.stop_ids)
    share = settings.general_share if settings.learn == "answers" else 0.0
    wanted = min(len(GENERAL), round(len(rows) * share / (1 - share)))
    general = [prompt_ids(chat, Row.of(question, "")) for question in GENERAL[:wanted]]
    return Data(rows, left, held, asked, general, stop_ids)
