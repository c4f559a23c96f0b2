"""What a family is: the conventions of one model line. Families know no weights and no conversations kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llm.engine import Engine
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How to render beside the messages. `thinking` None is the model's own default."""

    tools: Sequence[Mapping[str, Any]] = ()
    thinking: bool | None = None


class Family(Protocol):
    """Conventions of one model line, registered under `name` in `llm.families`.

    takes_tools: whether the line has tools without a chat template. answers_begin_with_metadata: whether an answer's
    first line names a called function or is empty.
    """

    @property
    def takes_tools(self) -> bool: ...

    @property
    def answers_begin_with_metadata(self) -> bool: ...

    @property
    def name(self) -> str: ...

    @property
    def thinking_tags(self) -> tuple[str, str] | None:
        """Opening and closing tag of thinking in the answer; None: the family doesn't think."""

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        """The prompt up to where the answer begins, as spans. Words are never control spans."""

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        """Ids that end an answer."""

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        """A finished answer's words without its tool calls, and the calls. Malformed calls stay words."""


class SpanTokenizer(Protocol):
    """What the transformers engine needs of a tokenizer, so that a family can bring its own."""

    special_tokens: Mapping[str, int]
    stop_ids: frozenset[int]
    chat_template: str
    bos_text: str
    eos_text: str
    tool_template: str = ""
    image_tag: str = ""
    pictures_as_words: bool = False
    """As of `llm.engine.Engine`."""
    takes_pictures: bool = False
    """Whether `inputs` makes something of pictures."""

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        """Per token: id, how it reads, and the span in which it begins."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes of a character that is still incomplete at the end become U+FFFD."""

    def decode_growing(self, ids: Sequence[int]) -> str:
        """`decode` for an answer in work, where `decode` could still change what was shown."""
        return self.decode(ids)

    def inputs(self, spans: Sequence[Span]) -> Mapping[str, Any]:
        """What the model's `forward` takes beside the ids, by name (pixel values); nothing without pictures."""
        return {}

    def token_text(self, token_id: int) -> str:
        """How one token reads by itself."""

    def token_bytes(self, token_id: int) -> bytes:
        """What one token adds to an answer, in UTF-8; nothing for an id that stands for no token."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """A family's published sampling defaults and where they are published."""

    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
