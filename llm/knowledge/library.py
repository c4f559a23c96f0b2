"""Bases, documents and passages as one person may see them. Who may is asked in the same SQL that reads.

A base is its owner's; a shared one may be asked by everybody, and changed by its owner alone. What belongs to another
is as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llm.documents.chunks import Chunk
from llm.documents.document import Document, Page
from llm.errors import NotFound
from llm.files import write_whole
from llm.knowledge.database import database, folder
from llm.knowledge.values import DEFAULT_SIZE, Base, KnownDocument, Passage, State, base_of, document_of, passage_of
from llm.knowledge.words import words_of

_MAY_READ = "(b.owner = :me OR b.shared)"
_DOCUMENT = """SELECT d.*, (SELECT count(*) FROM pages p WHERE p.document_id = d.id) AS pages,
    (SELECT count(*) FROM passages p WHERE p.document_id = d.id) AS passages
    FROM documents d JOIN bases b ON b.id = d.base_id WHERE """
_PASSAGE = """SELECT p.*, d.name AS document, d.kind AS kind FROM passages p JOIN documents d ON d.id = p.document_id
    JOIN bases b ON b.id = p.base_id WHERE """


class Library:
    """The knowledge of one data folder, seen by one person."""

    def __init__(self, owner: str = "local") -> None:
        self.owner = owner
        self.db = database()

    # ---- bases

    def bases(self) -> list[Base]:
        """The person's own bases and those shared by others, by name."""
        rows = self.db.read().execute(
            f"SELECT * FROM bases b WHERE {_MAY_READ} ORDER BY b.name COLLATE NOCASE, b.id", {"me": self.owner}
        )
        return [base_of(row) for row in rows]

    def base(self, base_id: str) -> Base:
        """Raises NotFound."""
        row = self.db.read().execute(
            f"SELECT * FROM bases b WHERE b.id = :id AND {_MAY_READ}", {"id": base_id, "me": self.owner}
        )  # fmt: skip
        return base_of(_one(row, "base", base_id))

    def create_base(self, name: str, shared: bool = False, embedder: str = "", size: int = DEFAULT_SIZE) -> Base:
        """A new, empty base."""
        base_id = uuid.uuid4().hex
        values = (base_id, name.strip()[:200] or "…", self.owner, shared, embedder, size, time.time())
        with self.db.write() as connection:
            connection.execute(
                "INSERT INTO bases (id, name, owner, shared, embedder, size, created_at) VALUES (?,?,?,?,?,?,?)", values
            )
        return self.base(base_id)

    def change_base(
        self,
        base_id: str,
        name: str | None = None,
        shared: bool | None = None,
        embedder: str | None = None,
        size: int | None = None,
    ) -> Base:
        """Changes what is given. Raises NotFound: it is not this person's."""
        given = {"name": name, "shared": shared, "embedder": embedder, "size": size}
        values = {key: value for key, value in given.items() if value is not None}
        with self.db.write() as connection:
            self._own(connection, base_id)
            for key, value in values.items():
                connection.execute(f"UPDATE bases SET {key} = ?, version = version + 1 WHERE id = ?", (value, base_id))
            if embedder == "":  # words only, from now on
                connection.execute("UPDATE bases SET indexed_by = '' WHERE id = ?", (base_id,))
        return self.base(base_id)

    def delete_base(self, base_id: str) -> None:
        """Deletes a base with everything in it. Raises NotFound."""
        with self.db.write() as connection:
            self._own(connection, base_id)
            connection.execute("DELETE FROM passages WHERE base_id = ?", (base_id,))
            connection.execute("DELETE FROM bases WHERE id = ?", (base_id,))
            _forget_vectors(connection)
        self._forget_files()

    def _own(self, connection: sqlite3.Connection, base_id: str) -> None:
        found = connection.execute("SELECT * FROM bases WHERE id = ? AND owner = ?", (base_id, self.owner))
        _one(found, "base", base_id)

    # ---- documents

    def add(self, base_id: str, name: str, data: bytes, path: str = "", encoding: str = "") -> KnownDocument:
        """Keeps a file; it is read afterwards, see `llm.knowledge.reading`. The same file under the same name is one.

        path: where it lies, for a file of a folder that is followed.

        Raises:
            NotFound: the base is not this person's.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        known = next((d for d in self.documents(base_id) if (d.name, d.sha256) == (name, sha256)), None)
        if known is not None:
            return known
        with self.db.write() as connection:
            self._own(connection, base_id)
            if not file_of(sha256).is_file():
                write_whole(file_of(sha256), data, private=True)
            document_id = uuid.uuid4().hex
            connection.execute(
                "INSERT INTO documents (id, base_id, name, sha256, size_bytes, state, encoding, path, created_at) "
                "VALUES (?,?,?,?,?,'queued',?,?,?)",
                (document_id, base_id, name[:500], sha256, len(data), encoding, path, time.time()),
            )
        return self.document(document_id)

    def documents(self, base_id: str) -> list[KnownDocument]:
        """A base's documents, the newest first. Raises NotFound."""
        self.base(base_id)
        rows = self.db.read().execute(
            f"{_DOCUMENT} d.base_id = :base AND {_MAY_READ} ORDER BY d.created_at DESC, d.id",
            {"base": base_id, "me": self.owner},
        )
        return [document_of(row) for row in rows]

    def document(self, document_id: str) -> KnownDocument:
        """Raises NotFound."""
        row = self.db.read().execute(f"{_DOCUMENT} d.id = :id AND {_MAY_READ}", {"id": document_id, "me": self.owner})
        return document_of(_one(row, "document", document_id))

    def delete_document(self, document_id: str) -> None:
        """Deletes file, text, words and vectors of a document. Raises NotFound: the base is another's."""
        document = self.document(document_id)
        with self.db.write() as connection:
            self._own(connection, document.base_id)
            connection.execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
            connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))
            _forget_vectors(connection)
            connection.execute("UPDATE bases SET version = version + 1 WHERE id = ?", (document.base_id,))
        self._forget_files()

    def _forget_files(self) -> None:
        """Removes files that no document has any more."""
        kept = {row["sha256"] for row in self.db.read().execute("SELECT DISTINCT sha256 FROM documents")}
        for file in (folder() / "files").glob("*"):
            if file.name not in kept and not file.name.startswith("."):
                file.unlink(missing_ok=True)

    def pages(self, document_id: str) -> list[Page]:
        """The pages of a document as they were read. Raises NotFound."""
        self.document(document_id)
        rows = self.db.read().execute("SELECT page FROM pages WHERE document_id = ? ORDER BY number", (document_id,))
        return [Page.of(json.loads(row["page"])) for row in rows]

    # ---- passages

    def passages(self, ids: Iterable[int]) -> dict[int, Passage]:
        """Passages by id; those that are gone, or another's, are left out."""
        wanted = list(dict.fromkeys(ids))
        found: dict[int, Passage] = {}
        for start in range(0, len(wanted), 500):
            part = ",".join(str(int(one)) for one in wanted[start : start + 500])
            rows = self.db.read().execute(f"{_PASSAGE} p.id IN ({part}) AND {_MAY_READ}", {"me": self.owner})
            found |= {row["id"]: passage_of(row) for row in rows}
        return found

    def passages_of(self, document_id: str) -> list[Passage]:
        """A document's passages in their order."""
        rows = self.db.read().execute(
            f"{_PASSAGE} p.document_id = :id AND {_MAY_READ} ORDER BY p.position", {"id": document_id, "me": self.owner}
        )
        return [passage_of(row) for row in rows]

    # ---- what the background work writes

    def set_state(self, document_id: str, state: State, error_code: str = "", **error_values: Any) -> None:
        with self.db.write() as connection:
            connection.execute(
                "UPDATE documents SET state = ?, error_code = ?, error_values = ? WHERE id = ?",
                (state, error_code, json.dumps(error_values, default=str), document_id),
            )

    def keep_read(self, document_id: str, read: Document, chunks: Sequence[Chunk]) -> None:
        """Puts what was read in the place of what there was: searchable by words from now on.

        Raises NotFound: the document was deleted meanwhile.
        """
        with self.db.write() as connection:
            found = connection.execute("SELECT base_id FROM documents WHERE id = ?", (document_id,))
            row = _one(found, "document", document_id)
            before = connection.execute("DELETE FROM passages WHERE document_id = ?", (document_id,)).rowcount
            connection.execute("DELETE FROM pages WHERE document_id = ?", (document_id,))
            connection.executemany(
                "INSERT INTO pages VALUES (?,?,?)",
                ((document_id, page.number, json.dumps(page.to_dict(), ensure_ascii=False)) for page in read.pages),
            )
            for chunk in chunks:
                digest = hashlib.sha256(chunk.with_context.encode()).hexdigest()
                cursor = connection.execute(
                    "INSERT INTO passages (base_id, document_id, position, text, context, page, label, start_s, boxes, "
                    "tokens, hash) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                    (
                        row["base_id"], document_id, chunk.position, chunk.text, chunk.context, chunk.page, chunk.label,
                        chunk.start_s, json.dumps(chunk.boxes), chunk.tokens, digest,
                    ),
                )  # fmt: skip
                words = " ".join([_mark(row["base_id"]), *words_of(chunk.with_context)])
                connection.execute("INSERT INTO words (rowid, held) VALUES (?,?)", (cursor.lastrowid, words))
            connection.execute(
                "UPDATE documents SET state = 'ready', kind = ?, encoding = ?, notes = ?, error_code = '' WHERE id = ?",
                (read.kind, read.encoding, json.dumps(read.notes), document_id),
            )
            connection.execute("UPDATE bases SET version = version + 1 WHERE id = ?", (row["base_id"],))
            if before:  # looks at every vector: not for each new document
                _forget_vectors(connection)

    def set_encoding(self, document_id: str, encoding: str) -> None:
        """Lets a document be read anew in another encoding. Raises NotFound."""
        document = self.document(document_id)
        with self.db.write() as connection:
            self._own(connection, document.base_id)
            connection.execute(
                "UPDATE documents SET encoding = ?, state = 'queued' WHERE id = ?", (encoding, document_id)
            )

    def move_document(self, document_id: str, name: str, path: str) -> None:
        """Another name and place for the same document. Raises NotFound."""
        document = self.document(document_id)
        with self.db.write() as connection:
            self._own(connection, document.base_id)
            connection.execute("UPDATE documents SET name = ?, path = ? WHERE id = ?", (name, path, document_id))

    def without_vector(self, base_id: str, model: str) -> list[tuple[str, str]]:
        """(hash, text) of the passages of which a model has no vector yet, the short ones first."""
        rows = self.db.read().execute(
            "SELECT hash, min(text) AS text, min(context) AS context FROM passages p WHERE base_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM vectors v WHERE v.hash = p.hash AND v.model = ?) GROUP BY hash ORDER BY min(tokens)",
            (base_id, model),
        )
        return [(row["hash"], f"{row['context']}\n{row['text']}" if row["context"] else row["text"]) for row in rows]

    def keep_vectors(self, model: str, found: Sequence[tuple[str, bytes]]) -> None:
        """Keeps vectors by their passages' hashes, as float16."""
        with self.db.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors (hash, model, vector) VALUES (?,?,?)",
                ((key, model, vector) for key, vector in found),
            )

    def mark_indexed(self, base_id: str, model: str) -> None:
        """All passages of a base have a vector of this model: from now on it answers by it."""
        with self.db.write() as connection:
            connection.execute(
                "UPDATE bases SET indexed_by = ?, version = version + 1 WHERE id = ?", (model, base_id)
            )  # fmt: skip

    def vectors(self, base_id: str, model: str) -> list[tuple[int, bytes]]:
        """(passage, vector) of a base. Raises NotFound."""
        rows = self.db.read().execute(
            "SELECT p.id, v.vector FROM passages p JOIN vectors v ON v.hash = p.hash AND v.model = :model "
            f"JOIN bases b ON b.id = p.base_id WHERE p.base_id = :base AND {_MAY_READ}",
            {"model": model, "base": base_id, "me": self.owner},
        )
        return [(row["id"], row["vector"]) for row in rows]

    def by_words(self, base_id: str, words: Sequence[str], most: int) -> list[tuple[int, float]]:
        """(passage, score) of those that hold some of the words, the best first: BM25, higher is better."""
        if not words:
            return []
        asked = f"{_mark(base_id)} AND ({' OR '.join(map(_quoted, words))})"
        rows = self.db.read().execute(
            "SELECT p.id, bm25(words) AS score FROM words JOIN passages p ON p.id = words.rowid "
            f"JOIN bases b ON b.id = p.base_id WHERE words MATCH :asked AND p.base_id = :base AND {_MAY_READ} "
            "ORDER BY score LIMIT :most",
            {"asked": asked, "base": base_id, "me": self.owner, "most": most},
        )
        return [(row["id"], -row["score"]) for row in rows]

    def weights(self, base_id: str, words: Sequence[str]) -> dict[str, float]:
        """How telling each word is in a base: the logarithm of how rare it is (IDF), as if there were ten more."""
        count = self.db.read().execute("SELECT count(*) FROM passages WHERE base_id = ?", (base_id,)).fetchone()[0]
        found: dict[str, float] = {}
        for word in words:
            asked = f"{_mark(base_id)} AND {_quoted(word)}"
            with_it = self.db.read().execute("SELECT count(*) FROM words WHERE words MATCH ?", (asked,))
            found[word] = math.log((count + 10) / (with_it.fetchone()[0] + 1))
        return found


def file_of(sha256: str) -> Path:
    """Where a document's file lies: by its hash, so that its name is a label only."""
    return folder() / "files" / sha256


def _mark(base_id: str) -> str:
    """A word that all passages of a base have and no text has, so that words are counted within a base."""
    return f"base{base_id}"


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _forget_vectors(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM passages)")


def _one(cursor: sqlite3.Cursor, what: str, id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = cursor.fetchone()
    if row is None:
        raise NotFound(what=what, id=id[:80])
    return row
