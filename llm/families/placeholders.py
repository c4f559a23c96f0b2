"""Stand-ins for people's words while a template is rendered, so that no word can become a control token.

What people wrote as a whole (a message's text) is replaced by one placeholder. Values that a template looks into keep
their shape (tools, names and arguments of calls): in them only what spells a tag is replaced, and what could become
part of one beside the template's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llm.prompt import PieceKind, Span

# Private-use characters around a number. A template may trim or test them without harm.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


@dataclass(slots=True)
class Placeholders:
    """What the placeholders of one prompt stand for.

    tags: texts that the engine would encode as control tokens.
    """

    tags: tuple[str, ...]
    spans: list[Span] = field(default_factory=list)

    def hold(self, span: Span) -> str:
        """The stand-in for a span."""
        self.spans.append(span)
        return f"{_OPEN}{len(self.spans) - 1}{_CLOSE}"

    def guarded(self, value: Any, kind: PieceKind) -> Any:
        """A JSON value, its keys too, in which every stretch that could be read as a tag is held."""
        if isinstance(value, str):
            return self._guarded_text(value, kind)
        if isinstance(value, dict):
            return {self.guarded(key, kind): self.guarded(item, kind) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.guarded(item, kind) for item in value]
        return value

    def _guarded_text(self, text: str, kind: PieceKind) -> str:
        risky = _risky(self.tags)
        begin, end = risky.edges(text)
        middle = risky.inside.sub(lambda match: self.hold(Span(match[0], kind)), text[begin:end])
        before = self.hold(Span(text[:begin], kind)) if begin else ""
        return before + middle + (self.hold(Span(text[end:], kind)) if end < len(text) else "")

    def cut(self, rendered: str) -> Iterator[tuple[str, Span | None]]:
        """(the template's own text, the span after it) from begin to end; the last has no span."""
        position = 0
        for match in _PLACEHOLDER.finditer(rendered):
            yield rendered[position : match.start()], self.spans[int(match[1])]
            position = match.end()
        yield rendered[position:], None


@dataclass(frozen=True, slots=True)
class _Risky:
    """What is dangerous in a text: whole tags, our own characters, and ends that a template could complete to a tag."""

    inside: re.Pattern[str]
    heads: frozenset[str]
    tails: frozenset[str]
    longest: int

    def edges(self, text: str) -> tuple[int, int]:
        """How far from the begin the text could be a tag's tail, and from where on a tag's head."""
        begin = next((n for n in range(min(self.longest, len(text)), 0, -1) if text[:n] in self.tails), 0)
        heads = range(min(self.longest, len(text) - begin), 0, -1)
        return begin, len(text) - next((n for n in heads if text[-n:] in self.heads), 0)


@lru_cache(maxsize=16)
def _risky(tags: tuple[str, ...]) -> _Risky:
    """Pieces of words are left alone (`object`, `user`): beside a template's text they are what the template wants."""
    known = sorted({tag for tag in tags if tag}, key=len, reverse=True)
    heads = {tag[:n] for tag in known for n in range(1, len(tag))}
    tails = {tag[n:] for tag in known for n in range(1, len(tag))}
    inner = {tag[i:j] for tag in known for i in range(1, len(tag)) for j in range(i + 1, len(tag))}
    tails |= {piece for piece in inner if not piece.isalnum()}
    inside = "|".join(map(re.escape, [*known, _OPEN, _CLOSE]))
    plain = {piece for piece in heads | tails if re.fullmatch(r"[\w\s]+", piece)}
    return _Risky(
        re.compile(inside), frozenset(heads - plain), frozenset(tails - plain), max(map(len, known), default=0)
    )
