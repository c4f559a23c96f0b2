"""What the 'Under the hood' panel shows of one answer, packed small.

A long answer with five alternatives a token is some 15,000 (token, probability) pairs. Written as objects that
is megabytes; as columns over a table of the distinct tokens, deflated, it is a few bytes a pair.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm.events import Alternative, Token
from llm.prompt import Piece, Prompt

_FLOOR = -9999.0  # a probability of zero, whose logarithm JSON cannot hold


@dataclass(frozen=True, slots=True)
class Trace:
    """The prompt exactly as the model was sent it, and the tokens that it answered with."""

    prompt: Prompt
    tokens: tuple[Token, ...] = ()

    def pack(self) -> bytes:
        """Deflated JSON. Log-probabilities keep three decimals; `Prompt.inputs` (pixels) are left out."""
        table: dict[tuple[int, str], int] = {}

        def index(id: int, text: str) -> int:
            return table.setdefault((id, text), len(table))

        kinds: list[list[Any]] = []  # runs of [kind, length]
        for piece in self.prompt.pieces:
            if kinds and kinds[-1][0] == piece.kind:
                kinds[-1][1] += 1
            else:
                kinds.append([piece.kind, 1])
        pairs = [(t.id, t.text, t.logprob) for t in _flat(self.tokens)]
        values = {
            "text": self.prompt.text,
            "ids": self.prompt.ids,
            "context": self.prompt.context_tokens,
            "dropped": self.prompt.dropped_messages,
            "pieces": [index(piece.id, piece.text) for piece in self.prompt.pieces],
            "kinds": kinds,
            "widths": [len(token.alternatives) for token in self.tokens],
            "answer": [index(id, text) for id, text, _ in pairs],
            "milli": [None if lp is None else round(max(lp, _FLOOR) * 1000) for _, _, lp in pairs],
            "table": list(table),
        }
        return zlib.compress(json.dumps(values, separators=(",", ":")).encode("ascii"), 6)

    @classmethod
    def unpack(cls, data: bytes) -> Trace:
        values = json.loads(zlib.decompress(data))
        table: list[tuple[int, str]] = values["table"]
        kinds = [kind for kind, length in values["kinds"] for _ in range(length)]
        pieces = tuple(
            Piece(*named, kind) for named, kind in zip(map(table.__getitem__, values["pieces"]), kinds, strict=True)
        )
        pairs = (
            (*table[at], None if milli is None else milli / 1000)
            for at, milli in zip(values["answer"], values["milli"], strict=True)
        )
        tokens = []
        for width in values["widths"]:
            id, text, logprob = next(pairs)
            alternatives = tuple(Alternative(*next(pairs)) for _ in range(width))
            tokens.append(Token(id, text, logprob, alternatives))
        prompt = Prompt(values["text"], tuple(values["ids"]), pieces, values["context"], values["dropped"])
        return cls(prompt, tuple(tokens))


def _flat(tokens: Iterable[Token]) -> Iterable[Token | Alternative]:
    for token in tokens:
        yield token
        yield from token.alternatives
