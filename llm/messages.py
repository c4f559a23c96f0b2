"""Messages: what a conversation is made of, as pure values.

A message is a role and a tuple of parts. Identity, time and branching are the store's concern; how
parts become a prompt is a family's. Everything here converts to and from plain dictionaries, so that
a store, an export or an HTTP body can hold it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words. They are text for every engine, whatever control tags they spell."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingPart:
    """What a model wrote between its thinking tags, without the tags."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An encoded picture (PNG, JPEG ...), as it was received."""

    data: bytes = field(repr=False)
    media_type: str = "image/png"
    name: str = ""


@dataclass(frozen=True, slots=True)
class AudioPart:
    """An encoded recording (WAV, MP3 ...), as it was received."""

    data: bytes = field(repr=False)
    media_type: str = "audio/wav"
    name: str = ""


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A text that goes along with the message: a transcript, what a picture says."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RefPart:
    """A named thing in a picture, for models that take grounding input (Qwen-VL's `<ref>`)."""

    text: str


@dataclass(frozen=True, slots=True)
class BoxPart:
    """A rectangle in a picture on a 0 to 1000 grid, x to the right and y down (Qwen-VL's `<box>`)."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A function call that a model asks for. `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a called function answered. Stands in a message of role `tool`."""

    id: str
    name: str
    content: str


Part: TypeAlias = (
    TextPart | ThinkingPart | ImagePart | AudioPart | DocumentPart | RefPart | BoxPart | ToolCallPart | ToolResultPart
)


def is_empty(part: Part) -> bool:
    """Whether a part says nothing: words of white space only."""
    match part:
        case TextPart() | ThinkingPart() | DocumentPart() | RefPart():
            return not part.text.strip()
    return False


def says_something(messages: Sequence[Message]) -> bool:
    """Whether there is anything to answer: a last message, which is not a user's with nothing in it."""
    return bool(messages) and not (messages[-1].role == "user" and all(map(is_empty, messages[-1].parts)))


PART_TYPES: dict[str, type] = {
    "text": TextPart,
    "thinking": ThinkingPart,
    "image": ImagePart,
    "audio": AudioPart,
    "document": DocumentPart,
    "ref": RefPart,
    "box": BoxPart,
    "tool_call": ToolCallPart,
    "tool_result": ToolResultPart,
}
_TYPE_NAMES = {cls: name for name, cls in PART_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks, and what."""

    role: Role
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, value: MessageLike) -> Message:
        """A message from a message, `{"role": ..., "content": text or parts}` or `to_dict`'s output.

        Raises:
            ValueError: the role or a part's type is unknown.
        """
        if isinstance(value, Message):
            return value
        role = value.get("role")
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; a message's role is one of {', '.join(ROLES)}")
        content = value.get("parts", value.get("content", ""))
        if isinstance(content, str):
            return cls(role, (TextPart(content),))
        return cls(role, tuple(_part_of(part) for part in content or ()))

    @property
    def text(self) -> str:
        """The words of the message, without thinking, documents or pictures."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ImagePart))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; bytes become base64 text."""
        return {"role": self.role, "parts": [part_to_dict(part) for part in self.parts]}


MessageLike: TypeAlias = Message | Mapping[str, Any]


def system(text: str) -> Message:
    return Message("system", (TextPart(text),))


def user(*parts: Part | str) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Message:
    return Message("assistant", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def messages_of(values: Iterable[MessageLike]) -> list[Message]:
    """Messages from messages or dictionaries, in order."""
    return [Message.of(value) for value in values]


def part_to_dict(part: Part) -> dict[str, Any]:
    """`{"type": name, ...fields}` with bytes in base64."""
    values: dict[str, Any] = {"type": _TYPE_NAMES[type(part)]}
    for name in part.__dataclass_fields__:
        value = getattr(part, name)
        values[name] = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
    return values


def _part_of(value: Part | str | Mapping[str, Any]) -> Part:
    if isinstance(value, str):
        return TextPart(value)
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    cls = PART_TYPES.get(fields.pop("type", ""))
    if cls is None:
        raise ValueError(f"unknown part type {value.get('type')!r}; known are {', '.join(PART_TYPES)}")
    if isinstance(fields.get("data"), str):
        fields["data"] = base64.b64decode(fields["data"], validate=True)
    try:
        part: Part = cls(**fields)
    except TypeError as error:
        raise ValueError(f"a {value['type']} part cannot be made of {sorted(fields)}: {error}") from error
    return part


def turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Groups messages into turns, each opened by a user message; a leading system message stands alone."""
    groups: list[list[Message]] = []
    for message in messages:
        if message.role in ("user", "system") or not groups:
            groups.append([message])
        else:
            groups[-1].append(message)
    return groups
