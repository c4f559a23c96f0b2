"""Families whose prompt is the Jinja chat template that comes with the weights.

The template is rendered in the sandbox that transformers uses, around placeholders that stand for
people's words. So the result can be cut into the template's own text, whose special tags are control
tokens, and words, which are text whatever they spell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from llm.engine import Engine
from llm.errors import CorruptModel
from llm.families.base import RenderOptions
from llm.families.published import Format, format_of
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

# Private-use characters around a number stand for words. A template may trim or test them without harm.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


@dataclass(slots=True)
class _Words:
    """What the placeholders stand for."""

    spans: list[Span] = field(default_factory=list)

    def hold(self, span: Span) -> str:
        self.spans.append(span)
        return f"{_OPEN}{len(self.spans) - 1}{_CLOSE}"


@dataclass(frozen=True)
class TemplateFamily:
    """The conventions of a checkpoint that carries its own chat template."""

    name: str = "template"
    thinking_tags: tuple[str, str] | None = ("<think>", "</think>")

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        """See `Family.render`.

        Raises:
            CorruptModel: the template cannot be compiled or refuses these messages.
        """
        source = engine.chat_template or self._published(engine).template
        words = _Words()
        as_words = getattr(engine, "pictures_as_words", False)
        image_tag = getattr(engine, "image_tag", "") if as_words else ""
        forms = {role: _Form(_trims(source, role), _reads_text(source, role), image_tag) for role in _roles(messages)}
        dicts = [_template_message(message, words, forms[message.role]) for message in messages]
        values: dict[str, Any] = {
            "messages": dicts,
            "tools": list(options.tools) or None,
            "add_generation_prompt": True,
            "bos_token": engine.bos_text,
            "eos_token": engine.eos_text,
        }
        if options.thinking is not None:
            values["enable_thinking"] = options.thinking
        pictures = [] if as_words else [part for message in messages for part in message.images]
        return list(_with_pictures(self._spans(_render(source, values), words, engine), engine, pictures))

    def _spans(self, rendered: str, words: _Words, engine: Engine) -> Iterator[Span]:
        position = 0
        image_tag = getattr(engine, "image_tag", "")
        tags = {**engine.special_tokens, image_tag: -1} if image_tag else engine.special_tokens
        for match in _PLACEHOLDER.finditer(rendered):
            yield from template_spans(rendered[position : match.start()], tags)
            yield words.spans[int(match.group(1))]
            position = match.end()
        yield from template_spans(rendered[position:], tags)

    def _published(self, engine: Engine) -> Format:
        return format_of(self.name, engine.special_tokens)

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        published = () if engine.chat_template else self._published(engine).stops
        ends = (*published, "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|end|>")
        return engine.stop_ids | {engine.special_tokens[end] for end in ends if end in engine.special_tokens}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        """Calls written the Hermes way, which Qwen follows: `<tool_call>{"name", "arguments"}</tool_call>`."""
        calls: list[ToolCallPart] = []

        def take(match: re.Match[str]) -> str:
            try:
                call = json.loads(match.group(1))
                arguments = call["arguments"]
                name = str(call["name"])
            except (ValueError, KeyError, TypeError):
                return match.group(0)
            written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            calls.append(ToolCallPart(f"call_{len(calls)}", name, written))
            return ""

        rest = re.sub(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", take, text, flags=re.DOTALL)
        return (rest.strip() if calls else text), calls


def _with_pictures(spans: Iterator[Span], engine: Engine, pictures: Sequence[ImagePart]) -> Iterator[Span]:
    """The spans with each of the template's picture tags turned into the picture that it stands for, in order.

    Raises:
        CorruptModel: the template has not one tag for each picture.
    """
    image_tag = getattr(engine, "image_tag", "")
    waiting = list(pictures)
    for span in spans:
        if image_tag and waiting and span.kind == "control" and span.text == image_tag:
            span = Span(span.text, "image", waiting.pop(0))
        yield span
    if waiting and image_tag:
        raise CorruptModel(path="the chat template", detail=f"it has no place for {len(waiting)} of the pictures")


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
    """

    trims: bool
    reads_text: bool
    image_tag: str


def _roles(messages: Sequence[Message]) -> set[str]:
    return {message.role for message in messages}


def _template_message(message: Message, words: _Words, form: _Form) -> dict[str, Any]:
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
            values.setdefault("tool_calls", []).append(_template_tool_call(part))
        elif isinstance(part, ToolResultPart):
            values["name"] = part.name
        text = part_text(part)
        if text is None:
            continue
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


def _template_tool_call(part: ToolCallPart) -> dict[str, Any]:
    try:
        arguments = json.loads(part.arguments)
    except ValueError:
        arguments = part.arguments
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


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
        rendered = _render(source, values)
    except CorruptModel:
        return ""  # the real messages will tell
    return rendered if "probe" in rendered else ""


@cache
def _compiled(source: str) -> Any:
    """The template, compiled as transformers does it: sandboxed, blocks trimmed, JSON left readable."""
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None, **_: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise CorruptModel(path="the chat template", detail=str(error)) from error


def _render(source: str, values: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return str(_compiled(source).render(**values))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise CorruptModel(path="the chat template", detail=str(error)) from error
