"""Families whose prompt is the Jinja chat template that comes with the weights.

The template is rendered in the sandbox that transformers uses, around placeholders that stand for
people's words. So the result can be cut into the template's own text, whose special tags are control
tokens, and words, which are text whatever they spell.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from llm.engine import Engine
from llm.errors import BrokenTemplate, RefusedConversation
from llm.families.base import RenderOptions
from llm.families.jinja import render
from llm.families.placeholders import Placeholders
from llm.families.published import Format, format_of
from llm.families.tool_calls import written_calls
from llm.messages import (
    DocumentPart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from llm.prompt import PieceKind, Span

# Mistral's templates: "Tool call IDs should be alphanumeric strings with length 9!".
_NINE_CHARACTERS = re.compile(r"length\s*!=\s*9")


@dataclass(frozen=True)
class TemplateFamily:
    """The conventions of a checkpoint that carries its own chat template."""

    name: str = "template"
    thinking_tags: tuple[str, str] | None = ("<think>", "</think>")
    takes_tools: ClassVar[bool] = False
    answers_begin_with_metadata: ClassVar[bool] = False

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        """See `Family.render`.

        Raises:
            BrokenTemplate: the template cannot be used.
            RefusedConversation: it takes these messages in no form, see `_forms`.
        """
        refused: RefusedConversation | None = None
        for conversation in _forms(messages):
            try:
                return self._rendered(conversation, engine, options)
            except RefusedConversation as error:
                refused = refused or error
        raise refused or RefusedConversation(detail="there are no messages")

    def _rendered(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        with_tools = engine.tool_template if options.tools else ""
        source = with_tools or engine.chat_template or self._published(engine).template
        words = Placeholders((*engine.special_tokens, engine.image_tag))
        image_tag = engine.image_tag if engine.pictures_as_words else ""
        forms = {role: self._form(source, role, image_tag) for role in {message.role for message in messages}}
        values: dict[str, Any] = {
            "messages": [_template_message(message, words, forms[message.role]) for message in messages],
            "tools": words.guarded(list(options.tools), "tool") or None,
            "add_generation_prompt": True,
            "bos_token": engine.bos_text,
            "eos_token": engine.eos_text,
        }
        if options.thinking is not None:
            values["enable_thinking"] = options.thinking
        pictures = [] if engine.pictures_as_words else [part for message in messages for part in message.images]
        return list(_with_pictures(self._spans(render(source, values), words, engine), engine, pictures))

    def _form(self, source: str, role: str, image_tag: str) -> _Form:
        closing = self.thinking_tags[1] if self.thinking_tags and role == "assistant" else ""
        return _Form(
            trims=_trims(source, role),
            reads_text=_reads_text(source, role),
            image_tag=image_tag,
            thinking_end=closing if closing and closing in source else "",
            short_ids=bool(_NINE_CHARACTERS.search(source)),
        )

    def _spans(self, rendered: str, words: Placeholders, engine: Engine) -> Iterator[Span]:
        tags = {**engine.special_tokens, engine.image_tag: -1} if engine.image_tag else engine.special_tokens
        for own, span in words.cut(rendered):
            yield from template_spans(own, tags)
            if span is not None:
                yield span

    def _published(self, engine: Engine) -> Format:
        return format_of(self.name, engine.special_tokens)

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        published = () if engine.chat_template else self._published(engine).stops
        ends = (*published, "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|end|>")
        return engine.stop_ids | {engine.special_tokens[end] for end in ends if end in engine.special_tokens}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return written_calls(text)


def _with_pictures(spans: Iterator[Span], engine: Engine, pictures: Sequence[ImagePart]) -> Iterator[Span]:
    """The spans with each of the template's picture tags turned into the picture that it stands for, in order.

    Raises:
        BrokenTemplate: it has not one tag for each picture.
    """
    image_tag = engine.image_tag
    waiting = list(pictures)
    for span in spans:
        if image_tag and waiting and span.kind == "control" and span.text == image_tag:
            span = Span(span.text, "image", waiting.pop(0))
        yield span
    if waiting and image_tag:
        raise BrokenTemplate(detail=f"it has no place for {len(waiting)} of the pictures")


def template_spans(text: str, special_tokens: Mapping[str, int]) -> Iterator[Span]:
    """A template's own text, cut into special tags (control) and plain words (template)."""
    position = 0
    for match in _tags(tuple(special_tokens)).finditer(text):
        if match.start() > position:
            yield Span(text[position : match.start()], "template")
        yield Span(match.group(), "control")
        position = match.end()
    if position < len(text):
        yield Span(text[position:], "template")


@cache
def _tags(tags: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any tag, the longest first; nothing when there are none."""
    escaped = sorted((re.escape(tag) for tag in tags if tag), key=len, reverse=True)
    return re.compile("|".join(escaped) or r"(?!)")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a template wants what one role says.

    trims: it strips white space. reads_text: it takes a string, not only a list of parts. image_tag: what stands
    for a picture where the engine wants pictures among the words; empty where the template has its own tag.
    thinking_end: what the template cuts earlier answers at, to leave their thinking out; empty where it doesn't.
    short_ids: it takes ids of calls of nine letters and digits only.
    """

    trims: bool
    reads_text: bool
    image_tag: str
    thinking_end: str
    short_ids: bool


def _forms(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages as they are, then in the one form that nearly every template takes, where that is another.

    Templates of Gemma, Mistral and others raise for a system text, for two turns of one speaker in a row, and for a
    conversation that the assistant opens. The system text then stands before the first question, turns of one speaker
    are one, and an empty question stands before an opening answer.
    """
    yield messages
    folded: list[Message] = []
    waiting: list[Part] = []
    for message in messages:
        if message.role == "system":
            waiting += [*message.parts, TextPart("\n\n")]
            continue
        if message.role == "assistant" and not folded:
            folded.append(Message("user", tuple(waiting)))
            waiting = []
        parts = (*waiting, *message.parts) if message.role == "user" else message.parts
        waiting = [] if message.role == "user" else waiting
        if folded and folded[-1].role == message.role and message.role != "tool":
            folded[-1] = replace(folded[-1], parts=(*folded[-1].parts, TextPart("\n\n"), *parts))
        else:
            folded.append(replace(message, parts=tuple(parts)))
    if folded and [message.role for message in folded] != [message.role for message in messages]:
        yield folded


def _template_message(message: Message, words: Placeholders, form: _Form) -> dict[str, Any]:
    """The dictionary that chat templates expect, with placeholders for words.

    Messages with pictures have a list as content, as vision templates want it; all others a string, if that is read.
    """
    kind: PieceKind = message.role
    values: dict[str, Any] = {"role": message.role}
    contents: list[dict[str, str]] = []
    parts = [part for part in message.parts if not isinstance(part, ThinkingPart)]
    texts = [index for index, part in enumerate(parts) if isinstance(part, (TextPart, DocumentPart, ToolResultPart))]
    for index, part in enumerate(parts):
        if isinstance(part, ImagePart) and form.image_tag:
            contents.append({"type": "text", "text": words.hold(Span(form.image_tag, "image", part))})
        elif isinstance(part, ImagePart):
            contents.append({"type": "image"})
        elif isinstance(part, ToolCallPart):
            values.setdefault("tool_calls", []).append(_template_tool_call(part, words, form))
        elif isinstance(part, ToolResultPart):
            values["name"] = words.guarded(part.name, "tool")
            values["tool_call_id"] = words.guarded(_call_id(part.id, form), "tool")
        text = part_text(part)
        if text is None:
            continue
        if form.thinking_end:
            text = text.rpartition(form.thinking_end)[2].lstrip("\n") if form.thinking_end in text else text
        if form.trims and index == texts[0]:
            text = text.lstrip()
        if form.trims and index == texts[-1]:
            text = text.rstrip()
        # An empty string stays one: templates test for it.
        contents.append({"type": "text", "text": words.hold(Span(text, kind)) if text else ""})
    if form.reads_text and all("text" in content for content in contents):
        values["content"] = "".join(content["text"] for content in contents)
    else:
        values["content"] = contents
    return values


def part_text(part: Part) -> str | None:
    """The words of one part as the model reads them; None for parts that are no words."""
    match part:
        case TextPart():
            return part.text
        case DocumentPart():
            return f"[{part.name}]\n{part.text}\n\n"
        case ToolResultPart():
            return part.content
    return None


def _template_tool_call(part: ToolCallPart, words: Placeholders, form: _Form) -> dict[str, Any]:
    try:
        arguments = json.loads(part.arguments)
    except ValueError:
        arguments = part.arguments
    function = words.guarded({"name": part.name, "arguments": arguments}, "assistant")
    call_id = words.guarded(_call_id(part.id, form), "assistant")
    return {"id": call_id, "type": "function", "function": {key: function[key] for key in ("name", "arguments")}}


def _call_id(call_id: str, form: _Form) -> str:
    """The id of a call; where the template takes none but short ones, one that always stands for it."""
    if not form.short_ids or re.fullmatch("[A-Za-z0-9]{9}", call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


@cache
def _trims(source: str, role: str) -> bool:
    """Whether the template strips the white space around what this role says.

    Placeholders hide that white space from the template, so words are stripped beforehand to get the
    published prompt.
    """
    probe = "  probe  "
    rendered = _probed(source, role, probe) or _probed(source, role, [{"type": "text", "text": probe}])
    return "probe" in rendered and probe not in rendered


@cache
def _reads_text(source: str, role: str) -> bool:
    """Whether the template takes a string for what this role says; some take only lists of parts."""
    return "probe" in _probed(source, role, "probe") or "probe" not in _probed(
        source, role, [{"type": "text", "text": "probe"}]
    )


def _probed(source: str, role: str, content: str | list[dict[str, str]]) -> str:
    """What the template makes of one message; empty where it refuses it or leaves it out."""
    filler: Any = "x" if isinstance(content, str) else [{"type": "text", "text": "x"}]
    messages: list[dict[str, Any]] = [{"role": role, "content": content}]
    if role != "user":
        messages = [{"role": "user", "content": filler}, *messages]
        if role == "system":
            messages.reverse()
    values = {"messages": messages, "add_generation_prompt": True, "bos_token": "", "eos_token": ""}
    try:
        rendered = render(source, values)
    except (BrokenTemplate, RefusedConversation):
        return ""  # the real messages will tell
    return rendered if "probe" in rendered else ""
