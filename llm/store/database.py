"""The tables, the engine and bringing an older database up to date.

SQLite in WAL mode by default: readers never wait, writers queue for up to `BUSY_S`. A writing transaction takes
the write lock at its start (BEGIN IMMEDIATE), because one that reads first and then finds the lock taken cannot
wait for it. Every other SQLAlchemy URL works the same way, without the FTS5 index.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from llm.errors import MissingPackage, NewerDatabase

HEAD = "0002"
"""The newest migration. A database that says so needs no further look at start."""
BUSY_S = 15
_MIGRATIONS = Path(__file__).parent / "migrations"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCK_KEY = 0x4865617274680001  # any constant: PostgreSQL's advisory lock for migrating

metadata = sa.MetaData()


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment as microseconds since 1970 UTC: exact, sortable and the same in every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("title_auto", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("system_prompt", sa.Text, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("deleted_at", UtcTime),
    sa.Column("active_leaf", RowId),
    sa.Column("kind", sa.String(16), nullable=False, server_default="chat"),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("folder", sa.Text, nullable=False, server_default=""),
    sa.Index("conversations_newest", "owner", "deleted_at", "updated_at", "id"),
)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("conversation_id", sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    sa.Column("parent_id", sa.ForeignKey("messages.id"), index=True),  # no cascade: SQLite's stops 1,000 deep
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),
    sa.Column("meta", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("writer", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Index("messages_tree", "conversation_id", "id", "parent_id"),
    sa.Index(
        "messages_writing",
        "status",
        sqlite_where=sa.text("status = 'writing'"),
        postgresql_where=sa.text("status = 'writing'"),
    ),
    sqlite_autoincrement=True,
)

message_texts = sa.Table(  # what a search reads, apart from the rows that a page reads
    "message_texts",
    metadata,
    sa.Column("message_id", sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("message_id", sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("touched_at", UtcTime, nullable=False),
)

message_attachments = sa.Table(
    "message_attachments",
    metadata,
    sa.Column("message_id", sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sha256", sa.ForeignKey("attachments.sha256"), primary_key=True, index=True),
)

waiting_questions = sa.Table(  # to be asked when the answer that is being written has ended
    "waiting_questions",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("conversation_id", sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("parent_id", RowId),
    sa.Column("parts", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

preferences = sa.Table(
    "preferences",
    metadata,
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

presets = sa.Table(
    "presets",
    metadata,
    sa.Column("id", RowId, primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.UniqueConstraint("owner", "name", name="presets_name"),
    sqlite_autoincrement=True,
)

transcripts = sa.Table(
    "transcripts",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("deleted_at", UtcTime),
    sa.Column("audio_sha256", sa.ForeignKey("attachments.sha256"), index=True),
    sa.Column("audio_name", sa.Text, nullable=False),
    sa.Column("audio_type", sa.Text, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("transcripts_newest", "owner", "deleted_at", "updated_at", "id"),
)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """One engine over one URL, migrated; shared by every thread of the process."""

    def __init__(self, url: str, attachments_dir: Path) -> None:
        """Opens, makes or migrates the database.

        Raises:
            NewerDatabase: a newer Hearth has migrated it.
            MissingPackage: the URL's driver is not installed.
        """
        self.attachments_dir = attachments_dir
        self.engine = _engine(url)
        self._writing = self.engine.execution_options(hearth_write=True)
        self._migrate()
        self.has_fts = self.engine.dialect.name == "sqlite" and sa.inspect(self.engine).has_table("message_fts")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short reading transaction: everything read in it is of one moment."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A short writing transaction; rolled back when the body raises."""
        with self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        with self.read() as connection:
            if _version(connection) == HEAD:
                return
        with self.write() as connection:  # on SQLite this holds the write lock, so a second process waits here
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
            version = _version(connection)
            if version != HEAD:
                _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command  # only a new or an older database needs it
    from alembic.config import Config as AlembicConfig
    from alembic.script import ScriptDirectory

    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise NewerDatabase(version=version, known=HEAD)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = sa.create_engine(parsed, json_serializer=to_json, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except ModuleNotFoundError as error:
        raise MissingPackage(package="psycopg[binary]" if error.name == "psycopg" else error.name) from error
    if parsed.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see `_begin_sqlite`
    connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")  # with WAL: safe against a killed process
    deadline = time.monotonic() + BUSY_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:  # SQLite does not wait by itself while another process switches
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("hearth_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def to_json(value: Any) -> str:
    """Compact JSON; Chinese as itself, which is half the size of its escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which no database takes unescaped
        return json.dumps(value, separators=(",", ":"))
    return text


def clean(text: str) -> str:
    """Text as every database takes it: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


_open: dict[tuple[str, Path], Database] = {}
_opening = threading.Lock()


def open_database(url: str, attachments_dir: Path, opened: Callable[[Database], None]) -> Database:
    """The process's one database for a URL; opened on first use, and then given to `opened`."""
    with _opening:
        key = (url, attachments_dir)
        if key not in _open:
            database = Database(url, attachments_dir)
            opened(database)
            _open[key] = database
        return _open[key]
