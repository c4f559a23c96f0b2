"""The index as one SQLite file: bases, documents, pages, passages, words and vectors.

What is deleted goes in one transaction, words and vectors included; `version` of a base rises with each change, so that
nothing answers from what is gone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.config import config

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bases (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, shared INTEGER NOT NULL DEFAULT 0,
    embedder TEXT NOT NULL DEFAULT '', indexed_by TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, base_id TEXT NOT NULL REFERENCES bases(id) ON DELETE CASCADE, name TEXT NOT NULL,
    sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL, state TEXT NOT NULL, kind TEXT NOT NULL DEFAULT '',
    encoding TEXT NOT NULL DEFAULT '', error_code TEXT NOT NULL DEFAULT '', error_values TEXT NOT NULL DEFAULT '{}',
    notes TEXT NOT NULL DEFAULT '[]', path TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS documents_of_base ON documents(base_id);
CREATE TABLE IF NOT EXISTS pages (
    document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, number INTEGER NOT NULL, page TEXT NOT NULL,
    PRIMARY KEY (document_id, number));
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, base_id TEXT NOT NULL REFERENCES bases(id) ON DELETE CASCADE,
    document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, position INTEGER NOT NULL,
    text TEXT NOT NULL, context TEXT NOT NULL, page INTEGER NOT NULL, label TEXT NOT NULL, start_s REAL,
    boxes TEXT NOT NULL, tokens INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS passages_of_document ON passages(document_id);
CREATE INDEX IF NOT EXISTS passages_of_base ON passages(base_id);
CREATE INDEX IF NOT EXISTS passages_of_hash ON passages(hash);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(held, tokenize="unicode61 remove_diacritics 0 tokenchars '-_./'");
CREATE TRIGGER IF NOT EXISTS words_of_passage AFTER DELETE ON passages BEGIN
    DELETE FROM words WHERE rowid = old.id; END;
CREATE TABLE IF NOT EXISTS vectors (
    hash TEXT NOT NULL, model TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (hash, model)) WITHOUT ROWID;
"""


class Database:
    """One file; a connection a thread, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._writing = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._writing:
            self._connection().executescript(_SCHEMA)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}")
            self._local.connection = connection
        return connection

    def read(self) -> sqlite3.Connection:
        """This thread's connection, for SELECTs."""
        return self._connection()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or nothing."""
        connection = self._connection()
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


_made: dict[Path, Database] = {}
_making = threading.Lock()


def database() -> Database:
    """The index of the configured data folder."""
    path = folder() / "index.db"
    with _making:
        if path not in _made or not path.is_file():
            _made[path] = Database(path)
        return _made[path]


def folder() -> Path:
    """Where the index and the documents' files lie."""
    return config().home / "knowledge"
