"""A loaded model as everybody sees it: an engine's weights with a family's conventions.

Messages are fitted into the context, rendered by the family, encoded by the engine; what the engine
writes is cut into thinking, words and tool calls, and into an end at a stop string.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm import families
from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.engine import Engine, GeneratedToken, GenerationEnd, MemoryUse, Waiting
from llm.engines.in_flight import UseCount
from llm.errors import EmptyMessage, MessageTooLong, UnsupportedContent
from llm.events import Event, Finished, FinishReason, Progress, PromptReady, TextDelta, Timings, ToolCallReady, Usage
from llm.families.base import RenderOptions
from llm.families.template import template_spans
from llm.messages import AudioPart, ImagePart, Message, MessageLike, messages_of, says_something
from llm.plan import LoadPlan
from llm.planning.out_of_memory import explaining_memory
from llm.prompt import Piece, Prompt, Span
from llm.repetition import RepetitionWatch
from llm.runtime.output_parser import AnswerSplitter, bare_calls
from llm.settings import GenerationSettings

SMALLEST_ANSWER_TOKENS = 64
"""A message that leaves less room than this for an answer is refused."""
LONGEST_TOKEN = 64
"""Characters that no run of real text has in each of its tokens; English has 4 to 5."""
SMALL_TEXT = 64 << 10
TEMPLATE_TOKENS = 16
"""More than templates put around one message. Where it is too many, another turn is left out in the next round."""


class EngineChatModel:
    """See `llm.runtime.protocols.ChatModel`. Safe to use from many threads at once."""

    def __init__(self, entry: ModelEntry, plan: LoadPlan, engine: Engine) -> None:
        self.entry = entry
        self.plan = plan
        self.engine = engine
        self.family = families.family(entry.family)
        self.use = UseCount(limit=config().parallel + config().queue_limit)
        self.closed = False

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
        keep_all: bool = False,
    ) -> Prompt:
        """What the model would be sent for these messages.

        The oldest turns are left out where all do not fit beside the longest reply, of which a quarter
        of the context is reserved at most; the system prompt and the last turn always stay. With
        `keep_all` nothing is left out.

        Raises:
            EmptyMessage: there are no messages.
            MessageTooLong: the system prompt and the last turn alone do not fit.
            UnsupportedContent: the model takes no pictures or no sound.
        """
        settings = settings or GenerationSettings()
        conversation = messages_of(messages)
        self._check(conversation)
        staying = [*conversation[-1:], *(each for each in conversation[:-1] if keep_all or each.role == "system")]
        self._check_bytes(sum(len(each.text) for each in staying))
        # A schema holds from the first token on, which leaves no room for thinking.
        thinking = False if settings.json_schema is not None else settings.thinking
        options = RenderOptions(tuple(tools or ()), thinking)
        context = self.engine.context_tokens
        reserve = min(settings.max_length, context // 4)
        prompt = self._encoded(conversation, options, settings)
        kept = conversation
        while len(prompt.ids) + reserve > context:
            shorter = None if keep_all else self._shortened(kept, len(prompt.ids) + reserve - context)
            if shorter is None:
                self._check_room(prompt, min(reserve, SMALLEST_ANSWER_TOKENS))
                break
            kept = shorter
            prompt = self._encoded(kept, options, settings)
        return replace(prompt, dropped_messages=prompt.dropped_messages + len(conversation) - len(kept))

    def _encoded(self, conversation: Sequence[Message], options: RenderOptions, settings: GenerationSettings) -> Prompt:
        spans = self.family.render(conversation, self.engine, options)
        tags = self.thinking_tags
        if settings.json_schema is not None and tags and "".join(s.text for s in spans).rstrip().endswith(tags[0]):
            spans += template_spans(f"\n{tags[1]}\n\n", self.engine.special_tokens)
        return self.engine.encode(spans)

    def _shortened(self, conversation: Sequence[Message], over_tokens: int) -> list[Message] | None:
        """The conversation without so many of its oldest turns as are surely `over_tokens` too many; None: at the last.

        A turn is weighed by its own words' tokens, which the template only adds to: leaving out turns until their words
        make up for the excess never leaves out one too many.
        """
        begin = next((index for index, message in enumerate(conversation) if message.role == "user"), 0)
        shorter = _without_oldest_turn(conversation)
        while shorter is not None:
            gone = conversation[begin : begin + len(conversation) - len(shorter)]
            words = [Span(message.text, "user") for message in gone if message.text]
            least_is_unknown = any(message.images for message in gone)
            if least_is_unknown or len(self.engine.encode(words).ids) + TEMPLATE_TOKENS * len(gone) >= over_tokens:
                return shorter
            further = _without_oldest_turn(shorter)
            if further is None:
                return shorter
            shorter = further
        return None

    def _check(self, conversation: Sequence[Message]) -> None:
        if not conversation:
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

    def _check_bytes(self, characters: int) -> None:
        """Refuses text that cannot fit before it is tokenised, which for megabytes takes minutes and gigabytes.

        Raises:
            MessageTooLong: it would not fit if every token were as long as tokens ever are. Its tokens are estimated.
        """
        context = self.engine.context_tokens
        if characters > context * LONGEST_TOKEN + SMALL_TEXT:
            tokens = characters // 4
            raise MessageTooLong(over_tokens=tokens - context, prompt_tokens=tokens, context_tokens=context)

    def stream(
        self,
        messages: Sequence[MessageLike],
        settings: GenerationSettings,
        cancel: Cancel | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_all: bool = False,
    ) -> Generator[Event, None, None]:
        """Events of one answer; `PromptReady` is first, `Finished` last. Closing it ends the work.

        Raises:
            Busy: too many are waiting.
            EmptyMessage: the last message says nothing.
            ModelError: as `prompt`, and whatever the engine meets on its way.
        """
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            started = time.perf_counter()
            if not says_something(messages_of(messages)):
                raise EmptyMessage()
            prompt = self.prompt(messages, tools, settings, keep_all)
            tags = self.thinking_tags
            splitter = AnswerSplitter(tags, settings.stop, holds_tool_calls=bool(tools))
            splitter.tool_names = tuple(tool["function"]["name"] for tool in tools or ())
            splitter.begins_with_metadata = self.family.answers_begin_with_metadata
            # Some templates open the thinking section themselves, at the prompt's end.
            splitter.thinking = tags is not None and prompt.text.rstrip().endswith(tags[0])
            yield from self._answer(prompt, settings, Cancel(cancel), splitter, _Clock(started))

    def complete(
        self, prompt: str | Sequence[int], settings: GenerationSettings, cancel: Cancel | None = None
    ) -> Generator[Event, None, None]:
        """Goes on with a raw prompt, without a chat template; events as of `stream`.

        The caller writes the whole prompt, so special tags in it are the tags that they name.

        Raises:
            EmptyMessage, MessageTooLong, Busy.
        """
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            clock = _Clock(time.perf_counter())
            self._check_bytes(len(prompt) if isinstance(prompt, str) else len(prompt) * LONGEST_TOKEN)
            ready = self._raw(prompt)
            self._check_room(ready, 1)
            yield from self._answer(ready, settings, Cancel(cancel), AnswerSplitter(None, settings.stop, False), clock)

    def _raw(self, prompt: str | Sequence[int]) -> Prompt:
        if isinstance(prompt, str):
            spans = [
                replace(span, kind="user") if span.kind == "template" else span
                for span in template_spans(prompt, self.engine.special_tokens)
            ]
            encoded = self.engine.encode(spans)
        else:
            ids = tuple(prompt)
            encoded = Prompt("", ids, tuple(Piece(i, "", "user") for i in ids), self.engine.context_tokens)
        if not encoded.ids:
            raise EmptyMessage()
        return encoded

    @property
    def thinking_tags(self) -> tuple[str, str] | None:
        """What stands around thinking in answers: the template's tags, where it names Mistral's, else the family's."""
        template = self.engine.chat_template
        return ("[THINK]", "[/THINK]") if "[THINK]" in template else self.family.thinking_tags

    @property
    def takes_tools(self) -> bool:
        """Whether the model's template tells it of tools."""
        templates = self.engine.chat_template + self.engine.tool_template
        return self.family.takes_tools or "tools" in self.entry.abilities or "tools" in templates

    @property
    def can_complete(self) -> bool:
        """Whether a raw prompt can be gone on with: always, the weights are here."""
        return True

    @property
    def can_embed(self) -> bool:
        """Whether the engine gives vectors of texts."""
        return self.engine.can_embed

    def embed(
        self, inputs: Sequence[str | Sequence[int]], cancel: Cancel | None = None
    ) -> tuple[list[list[float]], int]:
        """A vector of length one for each text (or its token ids), and how many tokens were read.

        Raises:
            UnsupportedContent: the engine gives no vectors.
            EmptyMessage, MessageTooLong, Cancelled.
        """
        if not self.can_embed:
            accepted = ", ".join(sorted(self.entry.abilities))
            raise UnsupportedContent(model=self.entry.name, content="texts for embedding", accepted=accepted)
        for given in inputs:
            self._check_bytes(len(given) if isinstance(given, str) else len(given) * LONGEST_TOKEN)
        with self.use, explaining_memory(self.entry, self.plan, self.memory):
            return self.engine.embed(inputs, cancel or Cancel())

    def _answer(
        self, prompt: Prompt, settings: GenerationSettings, cancel: Cancel, splitter: AnswerSplitter, clock: _Clock
    ) -> Iterator[Event]:
        yield PromptReady(prompt)
        steps = self.engine.generate(prompt, settings, self.family.stop_ids(self.engine), cancel)
        end = GenerationEnd("cancelled")
        watch = RepetitionWatch()
        try:
            for step in steps:
                match step:
                    case GeneratedToken():
                        clock.count()
                        yield from splitter.feed(step)
                        if splitter.stopped:
                            end = GenerationEnd("stop", end.cached_tokens)
                            break
                        if settings.json_schema is None and watch.feed(step.text):
                            end = GenerationEnd("repetition", end.cached_tokens)
                            break
                    case Waiting():
                        yield clock.heartbeat(step.ahead)
                    case GenerationEnd():
                        end = step
                        splitter.add(step.text)
        finally:
            cancel.set()
            close = getattr(steps, "close", None)
            if close is not None:
                close()
        yield from splitter.rest()
        reason: FinishReason = end.reason
        if splitter.held_text:
            words, calls = self.family.tool_call(splitter.held_text)
            if not calls and (bare := bare_calls(splitter.held_text, splitter.tool_names)):
                words, calls = "", bare
            if words:
                yield TextDelta(words)
            for call in calls:
                yield ToolCallReady(call)
            reason = "tool_calls" if calls else reason
        yield Finished(reason, Usage(len(prompt.ids), clock.tokens, end.cached_tokens), clock.timings())

    def memory(self) -> MemoryUse:
        return self.engine.memory()

    def close(self) -> None:
        self.closed = True
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
