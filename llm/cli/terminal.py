"""What the terminal's commands share: loading with progress, and an answer as it is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import llm
from llm.cancel import Cancel
from llm.events import Finished, TextDelta, ThinkingDelta
from llm.messages import Message, Part, TextPart
from llm.runtime import handles
from llm.runtime.protocols import ChatModel, Transcriber
from llm.settings import GenerationSettings

notes = Console(stderr=True)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class Reply:
    """A written answer. `end` None: it was interrupted."""

    model: str
    text: str = ""
    thinking: str = ""
    end: Finished | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"model": self.model, "text": self.text}
        if self.thinking:
            values["thinking"] = self.thinking
        if self.end:
            usage, timings = self.end.usage, self.end.timings
            values["reason"] = self.end.reason
            values["prompt_tokens"], values["completion_tokens"] = usage.prompt_tokens, usage.completion_tokens
            values["first_token_s"], values["total_s"] = round(timings.first_token_s, 3), round(timings.total_s, 3)
        return values


def chat_model(model: str) -> ChatModel:
    """The handle of a model that answers messages, with a sign of life while it loads.

    Raises:
        UnsupportedContent: it is of another kind.
    """
    with notes.status(f"Loading {model} ..."):
        return handles.chat(model)


def transcriber(model: str) -> Transcriber:
    """As `chat_model`, of a model that writes recordings down."""
    with notes.status(f"Loading {model} ..."):
        return handles.transcriber(model)


def settings(handle: ChatModel, **values: Any) -> GenerationSettings:
    """The model's published defaults and what the command line says. None is not said."""
    given = {name: value for name, value in values.items() if value is not None}
    return GenerationSettings().with_values({**handle.entry.sampling, **given})


def opening(system: str) -> list[Message]:
    return [llm.system(system)] if system.strip() else []


def question(words: str, images: Sequence[Path] = ()) -> Message:
    """
    Raises:
        ModelError: a file is no picture, see `llm.vision.picture.take_in`.
    """
    parts: list[Part] = []
    if images:
        from llm.vision.picture import take_in

        parts = [take_in(path.read_bytes(), path.name).part for path in images]
    return Message("user", (*parts, TextPart(words)))


def answer(
    handle: ChatModel,
    messages: Sequence[Message],
    how: GenerationSettings,
    show: bool,
    into: Reply | None = None,
    cancel: Cancel | None = None,
) -> Reply:
    """Streams an answer to standard output; thinking to standard error, dimmed.

    into: the reply to fill, for callers who want what there is when it is interrupted.
    """
    reply = into or Reply(handle.entry.id)
    try:
        with closing(handle.stream(messages, how, cancel)) as events:
            for event in events:
                match event:
                    case TextDelta():
                        if show and reply.thinking and not reply.text:
                            notes.print()
                        reply.text += event.text
                        if show:
                            _write(event.text)
                    case ThinkingDelta():
                        reply.thinking += event.text
                        if show:
                            notes.print(printable(event.text), style="dim", end="", markup=False, highlight=False)
                    case Finished():
                        reply.end = event
    finally:
        if show and reply.text and not reply.text.endswith("\n"):
            _write("\n")
    return reply


def printable(text: str) -> str:
    """Text without control characters: what a model writes must not steer the terminal."""
    return _CONTROL.sub("", text)


def _write(text: str) -> None:
    sys.stdout.write(printable(text))
    sys.stdout.flush()
