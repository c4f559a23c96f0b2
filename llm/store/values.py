"""What the store gives out: plain frozen values, never database rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from llm.events import Timings, Usage
from llm.messages import Message

Status: TypeAlias = Literal["writing", "complete", "stopped", "interrupted"]
Kind: TypeAlias = Literal["chat", "image", "knowledge"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES: tuple[Status, ...] = get_args(Status)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known about a message beside its words.

    status: writing (an answer on its way), complete, stopped (by the person) or interrupted (its process died).
    reason: the engine's finish reason, empty while unknown.
    error: code of the `ModelError` that ended the answer, if one did.
    dropped_messages: how many of the oldest messages the model was not sent.
    extra: more that a page wants kept, JSON values; an import keeps its strings, numbers and booleans only.
    """

    status: Status = "complete"
    model: str = ""
    reason: str = ""
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    dropped_messages: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is at its default is left out."""
        values = {**asdict(self), "extra": dict(self.extra)}
        return {f.name: values[f.name] for f in fields(self) if getattr(self, f.name) != _DEFAULTS[f.name]}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Meta:
        """A meta from `to_dict`'s output.

        Raises:
            ValueError: a value has the wrong type. Unknown names are left out, for newer versions' sake.
        """
        known = {name: value[name] for name in _DEFAULTS if name in value}
        for name, given in known.items():
            default = _DEFAULTS[name]
            if isinstance(default, (Usage, Timings)):
                known[name] = _numbers(type(default), name, given)
            elif not isinstance(given, Mapping if name == "extra" else type(default)) or isinstance(given, bool):
                raise ValueError(f"{name} cannot be {given!r}")
        if known.get("status", "complete") not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, not {known['status']!r}")
        return cls(**known)


_DEFAULTS: dict[str, Any] = {f.name: getattr(Meta(), f.name) for f in fields(Meta)}


def _numbers(cls: type, name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} cannot be {value!r}")
    known = {f.name: value[f.name] for f in fields(cls) if f.name in value}
    for number in known.values():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < 1e12:
            raise ValueError(f"{name} cannot hold {number!r}")
    return cls(**known)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A cutting of a text around what was searched for. `hits` are (start, end) offsets into `text`."""

    text: str
    hits: tuple[tuple[int, int], ...] = ()
    message_id: int | None = None
    """The message that it is cut from; None: the title."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its messages. `title_auto` is False once a person has named it.

    kind: which page it belongs to, whatever becomes of its model.
    folder: where its owner put it; empty: nowhere.
    """

    id: str
    title: str
    title_auto: bool
    created_at: datetime
    updated_at: datetime
    model: str = ""
    system_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    deleted_at: datetime | None = None
    active_leaf: int | None = None
    kind: Kind = "chat"
    pinned: bool = False
    folder: str = ""
    snippet: Snippet | None = None
    """Where a search found it; None in a plain list."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in its place: `siblings` are the ids of all that share its parent, itself included, oldest first."""

    id: int
    parent_id: int | None
    message: Message
    meta: Meta
    created_at: datetime
    siblings: tuple[int, ...]
    has_trace: bool = False

    @property
    def index(self) -> int:
        """Its place among the siblings, from 0."""
        return self.siblings.index(self.id)


@dataclass(frozen=True, slots=True)
class WaitingQuestion:
    """What is to be asked when the answer that is being written has ended.

    parent_id: the message that it follows; `LATEST` for the end of the path, None for a beginning.
    message: None where the message `parent_id` is to be answered again.
    """

    id: int
    parent_id: int | None
    message: Message | None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A stretch of a list. Give `next` back as `before` for what follows; None: this was the end."""

    items: tuple[Item, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """A named system prompt."""

    id: int
    name: str
    text: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording. In lists `payload` is left empty.

    payload: JSON values; `segments`, a list of objects with `text`, is what a search reads. The rest is the
    speech page's: options, language, duration.
    audio_sha256: the recording among the attachments; None when it was not kept.
    """

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    audio_sha256: str | None = None
    audio_name: str = ""
    audio_type: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)
    deleted_at: datetime | None = None
    snippet: Snippet | None = None
