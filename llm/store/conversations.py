"""Conversations: made, listed, searched, named, deleted with undo."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.errors import NotFound
from llm.store import search
from llm.store.attachments import Attachments
from llm.store.database import Database, clean, conversations, message_texts, utc_now
from llm.store.values import Conversation, Kind, Page

_TITLE_WIDTH = 48  # in Latin letters; a Chinese character is two wide


@dataclass(frozen=True, slots=True)
class Owned:
    """A database seen by one owner. Every query below is by owner."""

    db: Database
    owner: str = "local"

    @property
    def attachments(self) -> Attachments:
        return Attachments(self.db)


class Conversations(Owned):
    __slots__ = ()

    def create_conversation(
        self,
        title: str = "",
        *,
        model: str = "",
        system_prompt: str = "",
        settings: Mapping[str, Any] | None = None,
        kind: Kind = "chat",
        folder: str = "",
    ) -> Conversation:
        """A new conversation without messages. An empty title is made of the first thing that the person says."""
        now = utc_now()
        values: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "title": clean(title),
            "title_auto": not title,
            "created_at": now,
            "updated_at": now,
            "model": clean(model),
            "system_prompt": clean(system_prompt),
            "settings": dict(settings or {}),
            "kind": kind,
            "folder": clean(folder),
        }
        with self.db.write() as connection:
            connection.execute(sa.insert(conversations), {**values, "owner": self.owner})
        return Conversation(**values)

    def conversation(self, conversation_id: str) -> Conversation:
        """One conversation, a deleted one too (see `deleted_at`). Raises NotFound."""
        with self.db.read() as connection:
            return self._conversation(connection, conversation_id)

    def list(
        self, query: str = "", limit: int = 50, before: str | None = None, kind: Kind | None = None
    ) -> Page[Conversation]:
        """Conversations, newest first; with a query those that hold all its words, best first, with a snippet.

        kind: only those of one page.
        """
        terms = search.terms_of(query)
        with self.db.read() as connection:
            if terms:
                return self._found(connection, terms, limit, before, kind)
            return self._newest(connection, limit, before, kind)

    def pinned(self, kind: Kind) -> builtins.list[Conversation]:
        """The conversations of a page that stay on top, newest first."""
        query = self._listed(kind).where(conversations.c.pinned).order_by(conversations.c.updated_at.desc())
        with self.db.read() as connection:
            return [conversation_of(row) for row in connection.execute(query)]

    def folders(self, kind: Kind) -> builtins.list[str]:
        """The names of a page's folders, in order: a folder is there as long as a conversation is in it."""
        listed = self._listed(kind).where(conversations.c.folder != "").subquery()
        with self.db.read() as connection:
            return sorted(connection.execute(sa.select(listed.c.folder).distinct()).scalars(), key=str.casefold)

    def rename(self, conversation_id: str, title: str, *, auto: bool = False) -> None:
        """Names a conversation. An automatic title never replaces a person's. Raises NotFound."""
        change = sa.update(conversations).where(self._is(conversation_id))
        if auto:
            change = change.where(conversations.c.title_auto)
        with self.db.write() as connection:
            if not connection.execute(change.values(title=clean(title), title_auto=auto)).rowcount:
                self._conversation(connection, conversation_id)

    def update(
        self,
        conversation_id: str,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
        pinned: bool | None = None,
        folder: str | None = None,
    ) -> None:
        """Changes what is given and leaves the place in the list as it is. Raises NotFound."""
        values: dict[str, Any] = {} if settings is None else {"settings": dict(settings)}
        if model is not None:
            values["model"] = clean(model)
        if system_prompt is not None:
            values["system_prompt"] = clean(system_prompt)
        if pinned is not None:
            values["pinned"] = pinned
        if folder is not None:
            values["folder"] = clean(folder).strip()[:200]
        if values:
            self._change(conversation_id, values)

    def delete(self, conversation_id: str) -> None:
        """Out of the list; `restore` undoes it until a purge. Raises NotFound."""
        self._change(conversation_id, {"deleted_at": utc_now()})

    def restore(self, conversation_id: str) -> None:
        """Undoes `delete`. Raises NotFound: it was purged meanwhile."""
        self._change(conversation_id, {"deleted_at": None})

    def _change(self, conversation_id: str, values: dict[str, Any]) -> None:
        with self.db.write() as connection:
            if not connection.execute(
                sa.update(conversations).where(self._is(conversation_id)).values(values)
            ).rowcount:
                raise NotFound(what="conversation", id=conversation_id)

    def _is(self, conversation_id: str) -> sa.ColumnElement[bool]:
        return sa.and_(conversations.c.id == conversation_id, conversations.c.owner == self.owner)

    def _conversation(self, connection: Connection, conversation_id: str) -> Conversation:
        row = connection.execute(sa.select(conversations).where(self._is(conversation_id))).one_or_none()
        if row is None:
            raise NotFound(what="conversation", id=conversation_id)
        return conversation_of(row)

    def _listed(self, kind: Kind | None) -> sa.Select[Any]:
        query = sa.select(conversations).where(
            conversations.c.owner == self.owner, conversations.c.deleted_at.is_(None)
        )
        return query if kind is None else query.where(conversations.c.kind == kind)

    def _newest(self, connection: Connection, limit: int, before: str | None, kind: Kind | None) -> Page[Conversation]:
        rows, next_ = newest(connection, self._listed(kind), conversations, limit, before)
        return Page(tuple(conversation_of(row) for row in rows), next_)

    def _found(
        self, connection: Connection, terms: Sequence[str], limit: int, before: str | None, kind: Kind | None
    ) -> Page[Conversation]:
        found = search.find(connection, self.owner, terms, self.db.has_fts)
        if kind is not None:
            of_kind = sa.select(conversations.c.id).where(conversations.c.id.in_(found), conversations.c.kind == kind)
            ids = set(connection.execute(of_kind).scalars())
            found = {conversation_id: message for conversation_id, message in found.items() if conversation_id in ids}
        start = int(before) if before and before.isdecimal() else 0
        shown = dict(list(found.items())[start : start + limit])
        rows = connection.execute(sa.select(conversations).where(conversations.c.id.in_(shown)))
        kept = {row.id: conversation_of(row) for row in rows}
        message_ids = [message_id for message_id in shown.values() if message_id is not None]
        texts = {
            row.message_id: row.text
            for row in connection.execute(sa.select(message_texts).where(message_texts.c.message_id.in_(message_ids)))
        }
        items = []
        for conversation_id, message_id in shown.items():
            text = kept[conversation_id].title if message_id is None else texts[message_id]
            items.append(replace(kept[conversation_id], snippet=search.snippet(text, terms, message_id)))
        return Page(tuple(items), str(start + limit) if start + limit < len(found) else None)


def newest(
    connection: Connection, query: sa.Select[Any], table: sa.Table, limit: int, before: str | None
) -> tuple[list[sa.Row[Any]], str | None]:
    """Rows by `updated_at`, newest first, after the place that `before` names, and the next place."""
    moment, _, last_id = (before or "").partition("_")
    if moment.isdecimal() and len(moment) < 18:  # anything else was not made here: the first page
        place = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(moment))
        query = query.where(
            sa.or_(table.c.updated_at < place, sa.and_(table.c.updated_at == place, table.c.id < last_id))
        )
    rows = list(connection.execute(query.order_by(table.c.updated_at.desc(), table.c.id.desc()).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    since = (last.updated_at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    return rows[:limit], f"{since}_{last.id}"


def conversation_of(row: sa.Row[Any]) -> Conversation:
    values = dict(row._mapping)
    del values["owner"]
    return Conversation(**values)


def title_of(text: str) -> str:
    """A title made of what somebody said: the first line, cut at a word's end where there are words."""
    line = next((line.strip(" #*>`-") for line in text.splitlines() if line.strip(" #*>`-")), "")
    width = 0
    for at, char in enumerate(line):
        width += 2 if ord(char) > 0x2E7F else 1
        if width > _TITLE_WIDTH:
            cut = line[:at]
            return (cut.rsplit(" ", 1)[0] if " " in cut[len(cut) // 2 :] else cut).rstrip() + "…"
    return line
