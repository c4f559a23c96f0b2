"""What a model is sent: rendered stretches of text, and the token ids that come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from llm.messages import ImagePart

PieceKind: TypeAlias = Literal["control", "template", "system", "user", "assistant", "tool", "image", "audio"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a rendered prompt and whose it is.

    kind `control`: a special tag, to be encoded as the one token that it names. Every other kind is plain
    text, encoded with special tags off. kind `image`: `image` is set and `text` is the tag that the template
    has for it.
    """

    text: str
    kind: PieceKind
    image: ImagePart | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a prompt. `text` is how the token reads; `kind` is whose it is.

    control: a special tag of the template. template: the template's plain words (role names, line
    ends). The others: what somebody said, or where a picture stands.
    """

    id: int
    text: str
    kind: PieceKind


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is sent, exactly."""

    text: str
    ids: tuple[int, ...]
    pieces: tuple[Piece, ...]
    context_tokens: int
    """Context there is, in tokens, for prompt and answer together."""
    dropped_messages: int = 0
    """How many of the oldest messages were left out so that the rest fits."""
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the engine needs beside the ids (pixel values and the like)."""
