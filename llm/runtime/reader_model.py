"""The reader: a chat model that gets the text of pictures to read instead of the pictures.

It is what a machine without any vision-language model answers with. It sees no objects, only text.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines.in_flight import UseCount
from llm.errors import Cancelled, UnsupportedContent
from llm.events import Event, Progress
from llm.messages import DocumentPart, ImagePart, Message, MessageLike, Part, messages_of
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.runtime.protocols import ChatModel
from llm.settings import GenerationSettings
from llm.vision.ocr import in_lines, read_text

HEARTBEAT_S = 0.2
NOTHING = "(no text in this picture)"


class ReaderModel:
    """See `llm.runtime.protocols.ChatModel`.

    Args:
        entry: the reader's, made by `llm.catalogue.lookup.reader_entry`.
        chat: the loaded chat model that answers, shared with everybody else.
    """

    def __init__(self, entry: ModelEntry, chat: ChatModel) -> None:
        self.entry = entry
        self.chat = chat
        self.plan: LoadPlan = chat.plan
        self.use: UseCount = chat.use

    can_complete = False
    can_embed = False

    @property
    def closed(self) -> bool:
        return self.chat.closed

    @property
    def context_tokens(self) -> int:
        return self.chat.context_tokens

    @property
    def takes_tools(self) -> bool:
        return self.chat.takes_tools

    def prompt(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[Mapping[str, Any]] | None = None,
        settings: GenerationSettings | None = None,
        keep_all: bool = False,
    ) -> Prompt:
        """What the chat model would be sent, the pictures' text included. Reads them if that hasn't been done."""
        return self.chat.prompt(as_text(messages_of(messages)), tools, settings, keep_all)

    def complete(
        self, prompt: str | Sequence[int], settings: GenerationSettings, cancel: Cancel | None = None
    ) -> Generator[Event, None, None]:
        """
        Raises:
            UnsupportedContent: always; a raw prompt has no pictures to read.
        """
        raise UnsupportedContent(model=self.entry.id, content="a raw prompt", accepted="conversations")

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """
        Raises:
            UnsupportedContent: always; the chat model itself may.
        """
        raise UnsupportedContent(model=self.entry.id, content="texts for embedding", accepted="conversations")

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_all: bool = False,
    ) -> Generator[Event, None, None]:
        """Events of one answer. While pictures are read, `Progress("reading", done, total)` comes before all else.

        Raises:
            ModelError: as the chat model's `stream`, or a picture cannot be read.
        """
        conversation = messages_of(messages)
        pictures = list(dict.fromkeys(part for message in conversation for part in message.images))
        cancel = Cancel(cancel)
        pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
        try:
            for done, part in enumerate(pictures):
                reading = pool.submit(read_text, part)
                while not reading.done():
                    yield Progress("reading", done, len(pictures))
                    if cancel.is_set():
                        raise Cancelled(what=self.entry.name)
                    _wait(reading)
                reading.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        yield from self.chat.stream(as_text(conversation), settings, cancel, tools, keep_all)

    def memory(self) -> MemoryUse:
        return self.chat.memory()

    def close(self) -> None:
        """Nothing to free: the chat model's handle is shared."""


def as_text(conversation: Sequence[Message]) -> list[Message]:
    """The conversation with each picture replaced by a document of its text, numbered in order."""
    number = 0
    messages = []
    for message in conversation:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                number += 1
                name = f"Text in picture {number}" + (f", {part.name}" if part.name else "")
                parts.append(DocumentPart(name, in_lines(read_text(part)) or NOTHING))
            else:
                parts.append(part)
        messages.append(replace(message, parts=tuple(parts)))
    return messages


def _wait(reading: Any) -> None:
    try:
        reading.exception(timeout=HEARTBEAT_S)
    except FutureTimeout:
        return
