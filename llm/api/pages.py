"""Lists in OpenAI's shape, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from llm.errors import NotFound

After = Annotated[str, Query(max_length=128)]
Limit = Annotated[int, Query(ge=1, le=10_000)]


def page(items: Sequence[dict[str, Any]], after: str, limit: int) -> dict[str, Any]:
    """The items that come after the one of that id.

    Raises:
        NotFound: there is no item of that id.
    """
    begin = 0
    if after:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise NotFound(what="item", id=after)
        begin = ids.index(after) + 1
    shown = list(items[begin : begin + limit])
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, "has_more": begin + limit < len(items), **ends}
