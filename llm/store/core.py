"""The store: conversations and messages, files of them, and the doors to the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.store import export, imports
from llm.store.attachments import Attachments
from llm.store.database import Database, conversations, messages, transcripts, utc_now
from llm.store.messages import insert_message, settle_interrupted
from llm.store.preferences import Preferences
from llm.store.presets import Presets
from llm.store.transcripts import Transcripts
from llm.store.waiting import Waiting

KEEP_DELETED = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Purged:
    """How many of each were removed for good."""

    conversations: int
    transcripts: int
    attachments: int


class Store(Waiting):
    """Everything that one owner keeps. Made by `llm.store.store`."""

    __slots__ = ()

    @property
    def presets(self) -> Presets:
        return Presets(self.db, self.owner)

    @property
    def preferences(self) -> Preferences:
        return Preferences(self.db, self.owner)

    @property
    def transcripts(self) -> Transcripts:
        return Transcripts(self.db, self.owner)

    def export_markdown(self, conversation_id: str, names: Mapping[str, str] | None = None) -> str:
        """The branch that is shown, to be read. `names`: see `export.NAMES`. Raises NotFound."""
        return export.markdown(self.conversation(conversation_id), self.path(conversation_id), names)

    def export_json(self, conversation_ids: Sequence[str]) -> bytes:
        """Conversations with all branches and attachments; the format is in `llm.store.export`. Raises NotFound."""
        kept = []
        with self.db.read() as connection:
            for conversation_id in conversation_ids:
                conversation = self._conversation(connection, conversation_id)
                rows = list(self._rows(connection, conversation_id).values())
                kept.append((conversation, {row.id: at for at, row in enumerate(rows)}, rows))
        return export.document(kept, self.attachments)

    def import_json(self, data: bytes) -> list[str]:
        """Brings exported conversations back as new ones and returns their ids: all of them, or none.

        Raises:
            BadImport: the file is not a sound export.
        """
        found = imports.read(data)
        with self.db.write() as connection:
            return [self._import(connection, conversation) for conversation in found]

    def _import(self, connection: Connection, given: imports.ReadConversation) -> str:
        conversation_id = uuid4().hex
        row = {"id": conversation_id, "owner": self.owner, **given.values}
        connection.execute(sa.insert(conversations), row)
        ids: list[int] = []
        for item in given.messages:
            parent_id = None if item.parent is None else ids[item.parent]
            ids.append(insert_message(self, connection, conversation_id, item.message, parent_id, item.meta))
            connection.execute(sa.update(messages).where(messages.c.id == ids[-1]).values(created_at=item.created_at))
        if given.active is not None:
            connection.execute(
                sa.update(conversations)
                .where(conversations.c.id == conversation_id)
                .values(active_leaf=ids[given.active])
            )
        return conversation_id

    def purge(self, older_than: timedelta = KEEP_DELETED) -> Purged:
        """Removes for good what the owner deleted longer ago than that, and attachments nobody refers to."""
        with self.db.write() as connection:
            return _purge(connection, self.db, older_than, self.owner)


def housekeeping(db: Database) -> None:
    """What a start does: settles what dead processes left, purges everybody's old deletions."""
    with db.write() as connection:
        settle_interrupted(Store(db), connection)
        _purge(connection, db, KEEP_DELETED, None)


def _purge(connection: Connection, db: Database, older_than: timedelta, owner: str | None) -> Purged:
    counts = []
    for table in (conversations, transcripts):
        gone = sa.delete(table).where(table.c.deleted_at <= utc_now() - older_than)
        if owner is not None:
            gone = gone.where(table.c.owner == owner)
        counts.append(connection.execute(gone).rowcount)
    return Purged(counts[0], counts[1], Attachments(db).free(connection))
