"""Full-text search, Chinese and English: every word must occur, as any stretch of characters.

On SQLite the FTS5 trigram index finds words of three characters and more, best match first. Shorter ones, which
are common in Chinese, and other databases go through LIKE, newest first. Titles come before messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.store.database import clean, conversations, message_texts, messages
from llm.store.values import Snippet

MAX_TERMS = 12
MAX_FOUND = 500
"""Conversations that one search gives at most."""
_TRIGRAM = 3
_AROUND = 40  # characters before and after a hit in a snippet

_RANKED = sa.text("""
    WITH hits AS MATERIALIZED (SELECT rowid AS id, rank AS score FROM message_fts WHERE message_fts MATCH :match)
    SELECT m.conversation_id, m.id AS message_id, min(hits.score) AS score
    FROM hits JOIN messages m ON m.id = hits.id
        JOIN conversations c ON c.id = m.conversation_id
    WHERE c.owner = :owner AND c.deleted_at IS NULL
    GROUP BY m.conversation_id ORDER BY score, m.conversation_id LIMIT :limit
""")


def terms_of(query: str) -> list[str]:
    """The words to look for; a query of blanks has none."""
    return list(dict.fromkeys(clean(query)[:500].split()))[:MAX_TERMS]


def contains(column: sa.ColumnElement[str], terms: Sequence[str], dialect: str) -> sa.ColumnElement[bool]:
    """Every term occurs in the column, in capitals or not; `%` and `_` are plain characters."""
    patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", term) + "%" for term in terms]
    if dialect == "sqlite":  # its LIKE ignores the case of ASCII letters by itself, and fast
        return sa.and_(*(column.like(pattern, escape="\\") for pattern in patterns))
    return sa.and_(*(column.ilike(pattern, escape="\\") for pattern in patterns))


def find(connection: Connection, owner: str, terms: Sequence[str], has_fts: bool) -> dict[str, int | None]:
    """Ids of the conversations in which all terms occur, best first -> the message to show, None for the title."""
    dialect = connection.dialect.name
    here = sa.and_(conversations.c.owner == owner, conversations.c.deleted_at.is_(None))
    titled = connection.execute(
        sa.select(conversations.c.id)
        .where(here, contains(conversations.c.title, terms, dialect))
        .order_by(conversations.c.updated_at.desc())
        .limit(MAX_FOUND)
    ).scalars()
    found: dict[str, int | None] = dict.fromkeys(titled)
    long = [term for term in terms if len(term) >= _TRIGRAM]
    if has_fts and len(long) == len(terms):
        match = " ".join('"' + term.replace('"', '""') + '"' for term in terms)
        rows = connection.execute(_RANKED, {"match": match, "owner": owner, "limit": MAX_FOUND})
    else:
        written = (
            sa.select(messages.c.conversation_id, sa.func.max(messages.c.id).label("message_id"))
            .join(message_texts, message_texts.c.message_id == messages.c.id)
            .join(conversations, conversations.c.id == messages.c.conversation_id)
            .where(here, contains(message_texts.c.text, terms, dialect))
            .group_by(messages.c.conversation_id)
            .order_by(sa.desc("message_id"))
            .limit(MAX_FOUND)
        )
        rows = connection.execute(written)
    for row in rows:
        found.setdefault(row.conversation_id, row.message_id)
    return found


def snippet(text: str, terms: Sequence[str], message_id: int | None = None) -> Snippet:
    """The text around the first place where a term occurs, line ends made blanks, with all hits in it."""
    pattern = re.compile("|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True)), re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, first.start() - _AROUND) if first else 0
    end = min(len(text), (first.end() if first else 0) + 2 * _AROUND)
    cut = " ".join(text[start:end].split())
    cut = ("… " if start else "") + cut + (" …" if end < len(text) else "")
    return Snippet(cut, tuple(hit.span() for hit in pattern.finditer(cut)), message_id)
