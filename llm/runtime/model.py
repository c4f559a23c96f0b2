"""A loaded model as everybody sees it: an engine's weights with a family's conventions.

Messages are fitted into the context, rendered by the family, encoded by the engine; what the engine
writes is cut into thinking, words and tool calls, and into an end at a stop string.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm import families
from llm.catalogue.entry import ModelEntry
from llm.engines.base import Cancel, Engine, GeneratedToken, GenerationEnd, LoadPlan, MemoryUse, Waiting
from llm.errors import EmptyMessage, MessageTooLong, UnsupportedContent
from llm.events import (
    Event,
    Finished,
    FinishReason,
    Progress,
    Prompt,
    PromptReady,
    TextDelta,
    Timings,
    ToolCallReady,
    Usage,
)
from llm.families.base import RenderOptions
from llm.messages import AudioPart, ImagePart, Message, MessageLike, is_empty, messages_of
from llm.runtime.deltas import AnswerSplitter
from llm.runtime.use import UseCount
from llm.settings import GenerationSettings

SMALLEST_ANSWER_TOKENS = 64
"""A message that leaves less room than this for an answer is refused."""


class ChatModel:
    """See `llm.engines.base.LoadedModel`. Safe to use from many threads at once."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Engine) -> None:
        self.entry = entry
        self.plan = plan
        self.engine = engine
        self.family = families.family(entry.family)
        self.use = UseCount()

    @property
    def context_tokens(self) -> int:
        return self.engine.context_tokens

    @property
    def model(self) -> Any:
        """The underlying torch module, for tests and research; only the transformers engine has one."""
        return getattr(self.engine, "model", None)

    @property
    def tokenizer(self) -> Any:
        """The underlying tokenizer, for tests and research; only the transformers engine has one."""
        return getattr(self.engine, "tokenizer", None)

    def prompt(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[Mapping[str, Any]] | None = None,
        settings: GenerationSettings | None = None,
    ) -> Prompt:
        """What the model would be sent for these messages.

        The oldest turns are left out where all do not fit beside the longest reply, of which a quarter
        of the context is reserved at most; the system prompt and the last turn always stay.

        Raises:
            EmptyMessage: the last message says nothing.
            MessageTooLong: the system prompt and the last turn alone do not fit.
            UnsupportedContent: the model takes no pictures or no sound.
        """
        settings = settings or GenerationSettings()
        conversation = messages_of(messages)
        self._check(conversation)
        options = RenderOptions(tuple(tools or ()), settings.thinking)
        context = self.engine.context_tokens
        reserve = min(settings.max_length, context // 4)
        dropped = 0
        while True:
            prompt = self.engine.encode(self.family.render(conversation, self.engine, options))
            if len(prompt.ids) + reserve <= context:
                break
            shorter = _without_oldest_turn(conversation)
            if shorter is None:
                self._check_room(prompt, min(reserve, SMALLEST_ANSWER_TOKENS))
                break
            dropped += len(conversation) - len(shorter)
            conversation = shorter
        return replace(prompt, dropped_messages=dropped)

    def _check(self, conversation: Sequence[Message]) -> None:
        last = conversation[-1] if conversation else None
        if last is None or (last.role == "user" and all(map(is_empty, last.parts))):
            raise EmptyMessage()
        kinds = {ImagePart: ("image", "images"), AudioPart: ("audio", "sound")}
        for message in conversation:
            for part in message.parts:
                ability, words = kinds.get(type(part), ("text", "text"))
                if ability not in self.entry.abilities and ability != "text":
                    accepted = ", ".join(sorted(self.entry.abilities & {"text", "image", "audio"}))
                    raise UnsupportedContent(model=self.entry.name, content=words, accepted=accepted)

    def _check_room(self, prompt: Prompt, answer_tokens: int) -> None:
        over = len(prompt.ids) + answer_tokens - self.engine.context_tokens
        if over > 0:
            raise MessageTooLong(
                over_tokens=over, prompt_tokens=len(prompt.ids), context_tokens=self.engine.context_tokens
            )

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Iterator[Event]:
        """Events of one answer; `PromptReady` is first, `Finished` last. Closing it ends the work.

        Raises:
            ModelError: as `prompt`, and whatever the engine meets on its way.
        """
        with self.use:
            yield from self._answer(messages, settings, cancel or Cancel(), tools)

    def _answer(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> Iterator[Event]:
        clock = _Clock(time.perf_counter())
        prompt = self.prompt(messages, tools, settings)
        yield PromptReady(prompt)
        tags = self.family.thinking_tags
        splitter = AnswerSplitter(tags, settings.stop, holds_tool_calls=bool(tools))
        # Some templates open the thinking section themselves, at the prompt's end.
        splitter.thinking = tags is not None and prompt.text.rstrip().endswith(tags[0])
        steps = self.engine.generate(prompt, settings, self.family.stop_ids(self.engine), cancel)
        end = GenerationEnd("cancelled")
        try:
            for step in steps:
                match step:
                    case GeneratedToken():
                        clock.count()
                        yield from splitter.feed(step)
                        if splitter.stopped:
                            end = GenerationEnd("stop", end.cached_tokens)
                            break
                    case Waiting():
                        yield clock.heartbeat(step.ahead)
                    case GenerationEnd():
                        end = step
        finally:
            cancel.set()
            close = getattr(steps, "close", None)
            if close is not None:
                close()
        yield from splitter.rest()
        reason: FinishReason = end.reason
        if splitter.held_text:
            words, calls = self.family.tool_call(splitter.held_text)
            if words:
                yield TextDelta(words)
            for call in calls:
                yield ToolCallReady(call)
            reason = "tool_calls" if calls else reason
        yield Finished(reason, Usage(len(prompt.ids), clock.tokens, end.cached_tokens), clock.timings())

    def memory(self) -> MemoryUse:
        return self.engine.memory()

    def close(self) -> None:
        self.engine.close()


@dataclass(slots=True)
class _Clock:
    """When an answer began, spoke first and how many tokens it has."""

    started: float
    first: float = 0.0
    tokens: int = 0

    def count(self) -> None:
        if not self.tokens:
            self.first = time.perf_counter()
        self.tokens += 1

    def heartbeat(self, ahead: int) -> Progress:
        if self.tokens:
            return Progress("answer", self.tokens)
        return Progress("waiting", ahead) if ahead else Progress("prompt")

    def timings(self) -> Timings:
        now = time.perf_counter()
        return Timings(first_token_s=(self.first or now) - self.started, total_s=now - self.started)


def _without_oldest_turn(conversation: Sequence[Message]) -> list[Message] | None:
    """The conversation without its first user message and what follows up to the next; None at the last turn."""
    openings = [index for index, message in enumerate(conversation) if message.role == "user"]
    if len(openings) < 2:
        return None
    return [*conversation[: openings[0]], *conversation[openings[1] :]]
