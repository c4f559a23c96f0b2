"""What families share when they turn messages into a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llm.families.template import part_text
from llm.messages import Message
from llm.prompt import Span


def words(message: Message) -> str:
    """What a message says, as the model reads it: its texts and documents in order, without thinking."""
    return "".join(filter(None, map(part_text, message.parts)))


@dataclass(slots=True)
class Round:
    """A question and its answer; `answer` None: not answered yet."""

    question: str
    answer: str | None = None


@dataclass(slots=True)
class Rounds:
    """A conversation as the earliest chat models see it: rounds, and perhaps a system text before them."""

    system: str = ""
    rounds: list[Round] = field(default_factory=list)


def rounds_of(messages: Sequence[Message]) -> Rounds:
    """Rounds of a conversation. What has no place in a round joins its neighbour on a line of its own."""
    result = Rounds()
    for message in messages:
        text = words(message)
        last = result.rounds[-1] if result.rounds else None
        if message.role == "system":
            result.system = "\n".join(filter(None, (result.system, text)))
        elif message.role == "assistant":
            if last is None:
                result.rounds.append(Round("", text))
            else:
                last.answer = text if last.answer is None else f"{last.answer}\n{text}"
        elif last is not None and last.answer is None:
            last.question = f"{last.question}\n{text}"
        else:
            result.rounds.append(Round(text))
    return result


def control(tag: str) -> Span:
    return Span(tag, "control")


def plain(text: str) -> Span:
    return Span(text, "template")
