"""From the tokens of a run of text back to whose text each token is."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from llm.prompt import Piece, Span


def pieces_of_run(run: Sequence[Span], tokens: Sequence[tuple[int, bytes]]) -> list[Piece]:
    """Pieces of a run that was tokenised as one: each token belongs to the span in which it begins.

    Args:
        run: plain spans whose texts, joined, were tokenised.
        tokens: id and bytes of each token. Their bytes, joined, are the run's, but for a space that
            SentencePiece vocabularies put before it.
    """
    ends: list[int] = []
    total = 0
    for span in run:
        total += len(span.text.encode())
        ends.append(total)
    position = min(0, total - sum(len(data) for _, data in tokens))
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces: list[Piece] = []
    index = 0
    for token_id, data in tokens:
        while index < len(ends) - 1 and position >= ends[index]:
            index += 1
        # Bytes of a character that several tokens share show with the token that completes it.
        pieces.append(Piece(token_id, decoder.decode(data), run[index].kind))
        position += len(data)
    return pieces
