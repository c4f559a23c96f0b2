"""Transcripts of recordings: kept, listed, searched, reopened, deleted with undo."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.errors import NotFound
from llm.store.conversations import Owned, newest
from llm.store.database import clean, transcripts, utc_now
from llm.store.search import contains, snippet, terms_of
from llm.store.values import Page, Transcript

_LISTED = [column for column in transcripts.c if column.name not in ("owner", "payload", "text")]


class Transcripts(Owned):
    __slots__ = ()

    def create(
        self,
        title: str,
        payload: Mapping[str, Any],
        *,
        audio_sha256: str | None = None,
        audio_name: str = "",
        audio_type: str = "",
    ) -> Transcript:
        """Keeps a transcript. `audio_sha256` comes from `attachments.put`.

        Raises:
            NotFound: no attachment has that hash.
        """
        if audio_sha256 is not None:
            self.attachments.path(audio_sha256)
        now = utc_now()
        values: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "title": clean(title),
            "created_at": now,
            "updated_at": now,
            "audio_sha256": audio_sha256,
            "audio_name": clean(audio_name),
            "audio_type": clean(audio_type),
            "payload": dict(payload),
        }
        with self.db.write() as connection:
            connection.execute(sa.insert(transcripts), {**values, "owner": self.owner, "text": _words(payload)})
        return Transcript(**values)

    def get(self, transcript_id: str) -> Transcript:
        """A transcript with its payload. Raises NotFound."""
        with self.db.read() as connection:
            return self._get(connection, transcript_id)

    def list(self, query: str = "", limit: int = 50, before: str | None = None) -> Page[Transcript]:
        """Transcripts without payload, newest first; with a query those whose title or words hold all its words."""
        terms = terms_of(query)
        chosen = sa.select(*_LISTED, *([transcripts.c.text] if terms else [])).where(
            transcripts.c.owner == self.owner, transcripts.c.deleted_at.is_(None)
        )
        dialect = self.db.engine.dialect.name
        if terms:
            chosen = chosen.where(
                sa.or_(contains(transcripts.c.title, terms, dialect), contains(transcripts.c.text, terms, dialect))
            )
        with self.db.read() as connection:
            rows, next_ = newest(connection, chosen, transcripts, limit, before)
        items = []
        for row in rows:
            values = dict(row._mapping)
            text = values.pop("text", "")
            item = Transcript(**values)
            if terms:
                titled = all(term.lower() in item.title.lower() for term in terms)
                item = replace(item, snippet=snippet(item.title if titled else text, terms))
            items.append(item)
        return Page(tuple(items), next_)

    def update(self, transcript_id: str, *, title: str | None = None, payload: Mapping[str, Any] | None = None) -> None:
        """Changes what is given. Raises NotFound."""
        values: dict[str, Any] = {"updated_at": utc_now()}
        if title is not None:
            values["title"] = clean(title)
        if payload is not None:
            values |= {"payload": dict(payload), "text": _words(payload)}
        self._change(transcript_id, values)

    def delete(self, transcript_id: str) -> None:
        """Out of the list; `restore` undoes it until a purge. Raises NotFound."""
        self._change(transcript_id, {"deleted_at": utc_now()})

    def restore(self, transcript_id: str) -> None:
        """Undoes `delete`. Raises NotFound: it was purged meanwhile."""
        self._change(transcript_id, {"deleted_at": None})

    def _change(self, transcript_id: str, values: dict[str, Any]) -> None:
        here = sa.and_(transcripts.c.id == transcript_id, transcripts.c.owner == self.owner)
        with self.db.write() as connection:
            if not connection.execute(sa.update(transcripts).where(here).values(values)).rowcount:
                raise NotFound(what="transcript", id=transcript_id)

    def _get(self, connection: Connection, transcript_id: str) -> Transcript:
        row = connection.execute(
            sa.select(*_LISTED, transcripts.c.payload).where(
                transcripts.c.id == transcript_id, transcripts.c.owner == self.owner
            )
        ).one_or_none()
        if row is None:
            raise NotFound(what="transcript", id=transcript_id)
        return Transcript(**row._mapping)


def _words(payload: Mapping[str, Any]) -> str:
    """What a search reads of a payload: the text of its segments."""
    segments = payload.get("segments")
    if not isinstance(segments, list):
        return ""
    texts = (segment.get("text") for segment in segments if isinstance(segment, Mapping))
    return clean("\n".join(text.strip() for text in texts if isinstance(text, str)))
