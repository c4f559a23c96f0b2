"""The messages of a conversation: a tree, of which one path is shown.

Regenerate adds a sibling answer, Edit a sibling question; nothing is written over. The conversation names the
last message of the path that is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.errors import NotFound
from llm.messages import DocumentPart, Message, Part
from llm.store.conversations import Conversations, title_of
from llm.store.database import clean, conversations, message_attachments, message_texts, messages, traces, utc_now
from llm.store.trace import Trace
from llm.store.values import Meta, StoredMessage
from llm.store.writers import is_gone, this_writer

LATEST: Final = 0
"""As a parent: the last message of the path that is shown (none in an empty conversation)."""


class Messages(Conversations):
    __slots__ = ()

    def path(self, conversation_id: str, leaf: int | None = None) -> list[StoredMessage]:
        """The messages that are shown, first to last; or those that lead to the message `leaf`.

        Raises:
            NotFound: there is no such conversation, or no such message in it.
        """
        with self.db.read() as connection:
            conversation = self._conversation(connection, conversation_id)
            rows = self._rows(connection, conversation_id)
        at = conversation.active_leaf if leaf is None else leaf
        if at is not None and at not in rows:
            raise NotFound(what="message", id=at)
        siblings = children_of((row.id, row.parent_id) for row in rows.values())
        found = []
        while at is not None:
            row = rows[at]
            found.append(self._stored(row, tuple(siblings[row.parent_id])))
            at = row.parent_id
        return found[::-1]

    def message(self, message_id: int) -> StoredMessage:
        """One message with its siblings. Raises NotFound."""
        with self.db.read() as connection:
            conversation_id = self._conversation_of(connection, message_id)
        return self.path(conversation_id, message_id)[-1]

    def add(
        self, conversation_id: str, message: Message, parent_id: int | None = LATEST, meta: Meta | None = None
    ) -> int:
        """Adds a message under a parent (None: as a beginning), shows it and returns its id.

        To edit a question, give the edited message's own `parent_id`.

        Raises:
            NotFound: there is no such conversation, or no such parent in it.
        """
        with self.db.write() as connection:
            return self._add(connection, conversation_id, message, parent_id, meta or Meta())

    def begin_answer(self, conversation_id: str, parent_id: int | None = LATEST, meta: Meta | None = None) -> int:
        """An empty answer with the status `writing`, shown; returns its id. Raises NotFound like `add`.

        To write an answer again, give the old answer's `parent_id`.
        """
        return self.add(conversation_id, Message("assistant"), parent_id, replace(meta or Meta(), status="writing"))

    def save_partial(self, message_id: int, parts: Sequence[Part], meta: Meta | None = None) -> bool:
        """Keeps what was written so far: one row, to be called about once a second, also while nothing comes.

        After two silent minutes an answer counts as interrupted, until the next call. Returns False, changing
        nothing, when the answer was finished meanwhile or is not there.
        """
        values: dict[str, Any] = {"updated_at": utc_now(), "status": "writing", "writer": this_writer()}
        if meta is not None:
            values["meta"] = replace(meta, status="writing").to_dict()
        with self.db.write() as connection:
            values["parts"], hashes = self.attachments.encode(connection, Message("assistant", tuple(parts)))
            saved = connection.execute(
                sa.update(messages)
                .where(self._mine(message_id), messages.c.status.in_(("writing", "interrupted")))
                .values(values)
            ).rowcount
            if saved and hashes:
                _refer(connection, message_id, hashes)
        return bool(saved)

    def finish_answer(self, message_id: int, parts: Sequence[Part], meta: Meta, trace: Trace | None = None) -> None:
        """Keeps the whole answer. `meta.status` says how it ended. Raises NotFound."""
        if meta.status == "writing":
            raise ValueError("a finished answer's status is complete, stopped or interrupted, not writing")
        message = Message("assistant", tuple(parts))
        now = utc_now()
        with self.db.write() as connection:
            conversation_id = self._conversation_of(connection, message_id)
            encoded, hashes = self.attachments.encode(connection, message)
            connection.execute(
                sa.update(messages)
                .where(messages.c.id == message_id)
                .values(parts=encoded, meta=meta.to_dict(), status=meta.status, writer="", updated_at=now)
            )
            _refer(connection, message_id, hashes)
            _index(connection, message_id, message)
            connection.execute(sa.delete(traces).where(traces.c.message_id == message_id))
            if trace is not None:
                connection.execute(sa.insert(traces), {"message_id": message_id, "data": trace.pack()})
            connection.execute(
                sa.update(conversations).where(conversations.c.id == conversation_id).values(updated_at=now)
            )

    def trace(self, message_id: int) -> Trace | None:
        """What the model was sent for an answer and its tokens; None where it was not kept. Raises NotFound."""
        with self.db.read() as connection:
            self._conversation_of(connection, message_id)
            data = connection.execute(sa.select(traces.c.data).where(traces.c.message_id == message_id)).scalar()
        return None if data is None else Trace.unpack(data)

    def switch_branch(self, message_id: int) -> list[StoredMessage]:
        """Shows the branch of a message, down to the newest end of it, and returns the path. Raises NotFound."""
        with self.db.write() as connection:
            conversation_id = self._conversation_of(connection, message_id)
            tree = connection.execute(
                sa.select(messages.c.id, messages.c.parent_id).where(messages.c.conversation_id == conversation_id)
            )
            children = children_of((row.id, row.parent_id) for row in tree)
            leaf = message_id
            while leaf in children:
                leaf = children[leaf][-1]
            connection.execute(
                sa.update(conversations).where(conversations.c.id == conversation_id).values(active_leaf=leaf)
            )
        return self.path(conversation_id)

    def _add(
        self, connection: Connection, conversation_id: str, message: Message, parent_id: int | None, meta: Meta
    ) -> int:
        conversation = self._conversation(connection, conversation_id)
        if parent_id == LATEST:
            parent_id = conversation.active_leaf
        elif parent_id is not None and self._conversation_of(connection, parent_id) != conversation_id:
            raise NotFound(what="message", id=parent_id)
        now = utc_now()
        message_id = insert_message(self, connection, conversation_id, message, parent_id, meta)
        values: dict[str, Any] = {"active_leaf": message_id, "updated_at": now}
        if conversation.title_auto and not conversation.title and message.role == "user":
            names = [part.name for part in message.parts if hasattr(part, "name")]
            values["title"] = clean(title_of(message.text) or title_of(" ".join(names)))
        connection.execute(sa.update(conversations).where(conversations.c.id == conversation_id).values(values))
        return message_id

    def _rows(self, connection: Connection, conversation_id: str) -> dict[int, sa.Row[Any]]:
        """All rows of a conversation by id, oldest first."""
        rows = connection.execute(
            sa.select(messages, traces.c.message_id.is_not(None).label("has_trace"))
            .outerjoin(traces, traces.c.message_id == messages.c.id)
            .where(messages.c.conversation_id == conversation_id)
            .order_by(messages.c.id)
        )
        return {row.id: row for row in rows}

    def _stored(self, row: sa.Row[Any], siblings: tuple[int, ...]) -> StoredMessage:
        meta = replace(Meta.of(row.meta), status=row.status)
        if row.status == "writing" and is_gone(row.writer, row.updated_at, utc_now()):
            meta = replace(meta, status="interrupted")
        message = self.attachments.decode(row.role, row.parts)
        return StoredMessage(row.id, row.parent_id, message, meta, row.created_at, siblings, bool(row.has_trace))

    def _mine(self, message_id: int) -> sa.ColumnElement[bool]:
        owned = sa.select(conversations.c.id).where(conversations.c.owner == self.owner)
        return sa.and_(messages.c.id == message_id, messages.c.conversation_id.in_(owned))

    def _conversation_of(self, connection: Connection, message_id: int) -> str:
        found = connection.execute(sa.select(messages.c.conversation_id).where(self._mine(message_id))).scalar()
        if found is None:
            raise NotFound(what="message", id=message_id)
        return str(found)


def children_of(tree: Iterable[tuple[int, int | None]]) -> dict[int | None, list[int]]:
    """(id, parent) pairs -> parent's id -> its children's ids, oldest first."""
    children: dict[int | None, list[int]] = {}
    for message_id, parent_id in sorted(tree, key=lambda pair: pair[0]):
        children.setdefault(parent_id, []).append(message_id)
    return children


def insert_message(
    store: Messages, connection: Connection, conversation_id: str, message: Message, parent_id: int | None, meta: Meta
) -> int:
    """Writes a message's rows within a transaction and returns its id."""
    now = utc_now()
    encoded, hashes = store.attachments.encode(connection, message)
    row = {
        "conversation_id": conversation_id,
        "parent_id": parent_id,
        "role": message.role,
        "parts": encoded,
        "meta": meta.to_dict(),
        "status": meta.status,
        "writer": this_writer() if meta.status == "writing" else "",
        "created_at": now,
        "updated_at": now,
    }
    message_id = connection.execute(sa.insert(messages).values(row).returning(messages.c.id)).scalar_one()
    if hashes:
        _refer(connection, message_id, hashes)
    if meta.status != "writing":  # an answer is indexed when it ends, not once a second
        _index(connection, message_id, message)
    return int(message_id)


def settle_interrupted(store: Messages, connection: Connection) -> None:
    """Closes the answers whose writers are gone, whoever owns them, so that a search finds their words."""
    rows = connection.execute(sa.select(messages).where(messages.c.status == "writing")).all()
    for row in rows:
        if is_gone(row.writer, row.updated_at, utc_now()):
            connection.execute(sa.update(messages).where(messages.c.id == row.id).values(status="interrupted"))
            _index(connection, row.id, store.attachments.decode(row.role, row.parts))


def _refer(connection: Connection, message_id: int, hashes: set[str]) -> None:
    connection.execute(sa.delete(message_attachments).where(message_attachments.c.message_id == message_id))
    if hashes:
        connection.execute(
            sa.insert(message_attachments), [{"message_id": message_id, "sha256": sha256} for sha256 in sorted(hashes)]
        )


def _index(connection: Connection, message_id: int, message: Message) -> None:
    """Keeps the words that a search finds: what was said, and the documents and file names that went along."""
    words = [message.text]
    for part in message.parts:
        if isinstance(part, DocumentPart):
            words += [part.name, part.text]
        elif getattr(part, "media_type", "") and getattr(part, "name", ""):
            words.append(part.name)  # type: ignore[union-attr]
    text = clean("\n".join(word for word in words if word))
    connection.execute(sa.delete(message_texts).where(message_texts.c.message_id == message_id))
    if text:
        connection.execute(sa.insert(message_texts), {"message_id": message_id, "text": text})
