"""Pictures and recordings, each kept once under the sha256 of its bytes.

A file appears in one rename, so that whoever finds it finds all of it. Its row is written in the same
transaction, before the file, and removed before the file too: the row's lock keeps a purge from taking away
what another process is just putting there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from llm.errors import NotFound
from llm.messages import AudioPart, ImagePart, Message, Part, part_to_dict
from llm.store.database import Database, attachments, message_attachments, transcripts, utc_now, waiting_questions

log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[0-9a-f]{64}")
GRACE = timedelta(hours=1)
"""What was put so lately may be about to be referred to; a purge leaves it."""


@dataclass(frozen=True, slots=True)
class Attachments:
    db: Database

    def put(self, source: bytes | BinaryIO) -> str:
        """Keeps bytes, or a binary stream read in pieces from where it stands, and returns their sha256.

        What nothing refers to within an hour goes with the next purge.
        """
        if isinstance(source, bytes):
            with self.db.write() as connection:
                return self.keep(connection, source)
        digest = hashlib.sha256()
        temporary = self._temporary()
        try:
            size_bytes = 0
            with temporary.open("wb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += file.write(chunk)
                _sync(file)
            with self.db.write() as connection:
                self._touch(connection, digest.hexdigest(), size_bytes)
                os.replace(temporary, self._placed(digest.hexdigest()))
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def keep(self, connection: Connection, data: bytes) -> str:
        """Keeps bytes within a writing transaction of the caller's."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._touch(connection, sha256, len(data))
        place = self._placed(sha256)
        if place.is_file() and place.stat().st_size == len(data):
            return sha256
        temporary = self._temporary()
        try:
            with temporary.open("wb") as file:
                file.write(data)
                _sync(file)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256

    def path(self, sha256: str) -> Path:
        """The file of an attachment, to be read only.

        Raises:
            NotFound: nothing is kept under that hash.
        """
        if _NAME.fullmatch(sha256):
            place = self._place(sha256)
            if place.is_file():
                return place
        raise NotFound(what="attachment", id=sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of an attachment. Raises NotFound."""
        return self.path(sha256).read_bytes()

    def free(self, connection: Connection) -> int:
        """Removes what nothing refers to; returns how many. Within a writing transaction."""
        used = sa.union(
            sa.select(message_attachments.c.sha256),
            sa.select(transcripts.c.audio_sha256).where(transcripts.c.audio_sha256.is_not(None)),
        )
        lists = connection.execute(sa.select(waiting_questions.c.parts)).scalars()
        wait = {part["sha256"] for parts in lists for part in parts or () if "sha256" in part}
        old = attachments.c.touched_at < utc_now() - GRACE
        gone = connection.execute(
            sa.delete(attachments)
            .where(old, attachments.c.sha256.not_in(used), attachments.c.sha256.not_in(wait))
            .returning(attachments.c.sha256)
        ).scalars()
        count = 0
        for sha256 in gone:
            with suppress(OSError):  # another program may hold the file open (Windows)
                self._place(sha256).unlink(missing_ok=True)
            count += 1
        return count

    def encode(self, connection: Connection, message: Message) -> tuple[list[dict[str, Any]], set[str]]:
        """The parts as JSON values with bytes replaced by `sha256`, and the hashes that they refer to."""
        values: list[dict[str, Any]] = []
        hashes: set[str] = set()
        for part in message.parts:
            if isinstance(part, ImagePart | AudioPart):
                sha256 = self.keep(connection, part.data)
                hashes.add(sha256)
                kind = "image" if isinstance(part, ImagePart) else "audio"
                values.append({"type": kind, "sha256": sha256, "media_type": part.media_type, "name": part.name})
            else:
                values.append(part_to_dict(part))
        return values, hashes

    def decode(self, role: str, parts: Sequence[dict[str, Any]]) -> Message:
        """The message of `encode`'s values. Bytes that were lost from the disk are empty."""
        return Message.of({"role": role, "parts": [self._decode(part) for part in parts]})

    def _decode(self, part: dict[str, Any]) -> Part | dict[str, Any]:
        if "sha256" not in part:
            return part
        try:
            data = self.read(part["sha256"])
        except (NotFound, OSError) as error:
            log.warning("attachment %s cannot be read: %s", part["sha256"], error)
            data = b""
        cls = ImagePart if part["type"] == "image" else AudioPart
        return cls(data, part["media_type"], part["name"])

    def _touch(self, connection: Connection, sha256: str, size_bytes: int) -> None:
        now = utc_now()
        touched = connection.execute(
            sa.update(attachments).where(attachments.c.sha256 == sha256).values(touched_at=now)
        ).rowcount
        if touched:
            return
        row = {"sha256": sha256, "size_bytes": size_bytes, "touched_at": now}
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(attachments), row)
        except sa.exc.IntegrityError:  # another process put the same bytes in this very moment
            log.debug("attachment %s was put twice at once", sha256)

    def _place(self, sha256: str) -> Path:
        return self.db.attachments_dir / sha256[:2] / sha256

    def _placed(self, sha256: str) -> Path:
        place = self._place(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _temporary(self) -> Path:
        """A new empty file on the same disk, since only there a rename is one step."""
        self.db.attachments_dir.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="writing-", dir=self.db.attachments_dir)
        os.close(handle)
        return Path(name)


def _sync(file: BinaryIO) -> None:
    """To the disk before the rename: after a power cut there must not be a whole name on half a file."""
    file.flush()
    os.fsync(file.fileno())
