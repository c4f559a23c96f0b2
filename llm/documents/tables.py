"""Tables as blocks: a row is the smallest unit and says by itself what its values are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from llm.documents.document import Block, Box

CJK = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
_BREAK_IN_CJK = re.compile(rf"(?<=[{CJK}])[^\S\n]*\n\s*(?=[{CJK}])")


def one_line(text: str) -> str:
    """Text without line breaks; those inside Chinese leave no blank behind: 持股比⏎例 is 持股比例."""
    return re.sub(r"\s+", " ", _BREAK_IN_CJK.sub("", text)).strip()


def row_text(head: Sequence[str], cells: Sequence[str]) -> str:
    """A row as "column: value; column: value"; what has no column name stands by itself, what is empty is left out."""
    named = ((head[at] if at < len(head) else "", cell) for at, cell in enumerate(cells))
    return "; ".join(f"{column}: {cell}" if column and column != cell else cell for column, cell in named if cell)


def table_blocks(
    rows: Iterable[Sequence[str]], boxes: Sequence[Box | None] = (), headed: bool = True
) -> Iterator[Block]:
    """The head and the rows of a table. headed: the first row that is not empty is the head, if others follow."""
    whole = [[one_line(cell) for cell in row] for row in rows]
    filled = [at for at, row in enumerate(whole) if any(row)]
    headed = headed and len(filled) > 1
    for at in filled:
        box = boxes[at] if at < len(boxes) else None
        if headed and at == filled[0]:
            yield Block(" | ".join(whole[at]), "table", box=box)
        else:
            yield Block(row_text(whole[filled[0]] if headed else [], whole[at]), "row", box=box)
