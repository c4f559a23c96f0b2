"""Cuts what an engine writes into thinking, words and a stop, although tags arrive in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llm.engine import GeneratedToken
from llm.events import TextDelta, ThinkingDelta, Token
from llm.families.tool_calls import OPENINGS, written_calls
from llm.messages import ToolCallPart

_BARE_CALLS = ('{"name":', '[{"name":', '```json{"name":', '```{"name":')
"""How an answer begins that is a call without tags, white space left out. Qwen2.5-Coder writes them so."""


class AnswerSplitter:
    """Feeds on an engine's tokens and yields deltas.

    Text that could be the beginning of a tag or of a stop string is held back until it is clear, so that
    neither ever shows. `stopped` is set once a stop string was written. `thinking` may be set
    at the start, when the prompt itself opened the thinking section. With tools at hand, the answer
    from the first tool call on is kept in `held_text`.
    """

    def __init__(self, thinking_tags: tuple[str, str] | None, stop: Sequence[str], holds_tool_calls: bool) -> None:
        self.stopped = False
        self.held_text = ""
        self._tags = thinking_tags
        self._stop = tuple(text for text in stop if text)
        self._tool_tags = OPENINGS if holds_tool_calls else ()
        self.thinking = False
        self.begins_with_metadata = False
        """Whether the first line names a called function, or is empty (ChatGLM3). May be set at the start."""
        self.tool_names: tuple[str, ...] = ()
        """The tools at hand. Set at the start, an answer that may be a bare call of one of them is held, too."""
        self._spoken = False
        self._after_tag = False
        self._thought = False
        """Whether the closing tag was seen. One without an opening tag is no word, and left out."""
        self._waiting = ""
        self._tokens: list[Token] = []

    def feed(self, step: GeneratedToken) -> Iterator[TextDelta | ThinkingDelta]:
        self._tokens.append(step.token)
        if self.held_text:
            self.held_text += step.text
            return
        self._waiting += step.text
        if self._may_be_bare_call():
            if _squeezed(self._waiting).startswith(_BARE_CALLS):
                self.held_text, self._waiting = self._waiting, ""
            return
        if not self.begins_with_metadata or self._takes_metadata():
            yield from self._advance()

    def add(self, text: str) -> None:
        """Text that belongs to no token of its own: the rest of a character that the answer ended inside of."""
        if self.held_text:
            self.held_text += text
        else:
            self._waiting += text

    def rest(self) -> Iterator[TextDelta | ThinkingDelta]:
        """What was held back when the answer ended."""
        if self.stopped or self.held_text:
            return
        yield from self._say(self._waiting)
        self._waiting = ""

    def _may_be_bare_call(self) -> bool:
        """Whether what was written so far is, or could become, the beginning of a call without tags."""
        if not self.tool_names or self._spoken or self.thinking or any(stop in self._waiting for stop in self._stop):
            return False
        begun = _squeezed(self._waiting)
        return begun.startswith(_BARE_CALLS) or any(call.startswith(begun) for call in _BARE_CALLS)

    def _takes_metadata(self) -> bool:
        """Whether the words have begun. A first line with a name, and tools at hand: it is a call, and held."""
        line, newline, _ = self._waiting.partition("\n")
        if self._tool_tags and (line.strip() or not newline):
            if newline:
                self.held_text, self._waiting = self._waiting, ""
            return False
        words = self._waiting.lstrip()
        if words:
            self._waiting, self.begins_with_metadata = words, False
        return bool(words)

    def _advance(self) -> Iterator[TextDelta | ThinkingDelta]:
        while True:
            if self._after_tag:  # the line ends after a tag are its own, in whichever tokens they come
                self._waiting = self._waiting.lstrip("\n")
                self._after_tag = not self._waiting
            found = self._first_mark()
            if found is None:
                keep = _partial(self._waiting, self._marks())
                clear = len(self._waiting) - keep
                text, self._waiting = self._waiting[:clear], self._waiting[clear:]
                if text or (self._tokens and not keep):
                    yield from self._say(text)
                return
            position, mark = found
            yield from self._say(self._waiting[:position])
            self._waiting = self._waiting[position + len(mark) :]
            if mark in self._stop:
                self.stopped = True
                return
            if mark in self._tool_tags:
                self.held_text, self._waiting = mark + self._waiting, ""
                return
            self._spoken = self._spoken or self.thinking  # it thinks once
            self._thought = self._thought or (self._tags is not None and mark == self._tags[1])
            self.thinking = self._tags is not None and mark == self._tags[0]
            self._after_tag = True

    def _marks(self) -> list[str]:
        """What matters at this place. A thinking tag opens only at the answer's begin; later it is just text."""
        if self.thinking and self._tags:
            return [self._tags[1]]
        begun = self._spoken or not _could_begin(self._waiting.lstrip(), self._tags)
        opening = [self._tags[0]] if self._tags and not begun else []
        stray = [self._tags[1]] if self._tags and not self._thought else []
        return [*self._stop, *opening, *stray, *self._tool_tags]

    def _first_mark(self) -> tuple[int, str] | None:
        found = [(self._waiting.find(mark), mark) for mark in self._marks()]
        found = [(position, mark) for position, mark in found if position >= 0]
        return min(found, key=lambda hit: (hit[0], -len(hit[1]))) if found else None

    def _say(self, text: str) -> Iterator[TextDelta | ThinkingDelta]:
        if not text and not self._tokens:
            return
        tokens, self._tokens = tuple(self._tokens), []
        if self.thinking:
            yield ThinkingDelta(text, tokens)
            return
        self._spoken = self._spoken or bool(text.strip())
        yield TextDelta(text, tokens)


def bare_calls(text: str, tool_names: Sequence[str]) -> list[ToolCallPart]:
    """The calls that a whole answer is: `{"name": one of the tools, "arguments": {...}}`, bare or fenced as code."""
    fenced = re.fullmatch(r"\s*(?:```(?:json)?)?\s*([\[{].*[\]}])\s*(?:```)?\s*", text, re.DOTALL)
    words, calls = written_calls(f"<tool_call>{fenced[1]}</tool_call>") if fenced else (text, [])
    told = re.search(r'"(arguments|parameters)"\s*:\s*\{', text) is not None
    return calls if told and not words and all(call.name in tool_names for call in calls) else []


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def _could_begin(text: str, tags: tuple[str, str] | None) -> bool:
    """Whether a text begins with the opening tag, or could when more of it has come."""
    return tags is not None and (text.startswith(tags[0]) or tags[0].startswith(text))


def _partial(text: str, marks: Sequence[str]) -> int:
    """How many characters at the end of `text` could begin a mark."""
    longest = max((len(mark) for mark in marks), default=0) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(mark.startswith(text[-length:]) for mark in marks):
            return length
    return 0
