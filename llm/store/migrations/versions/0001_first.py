"""The first tables: conversations, messages, traces, attachments, presets, transcripts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WRITING = sa.text("status = 'writing'")

# Trigrams find any stretch of three characters, in Chinese as in English. The index holds no text of its own.
_INDEX = "INSERT INTO message_fts(rowid, text) VALUES (new.message_id, new.text);"
_UNINDEX = "INSERT INTO message_fts(message_fts, rowid, text) VALUES ('delete', old.message_id, old.text);"
_FTS = (
    "CREATE VIRTUAL TABLE message_fts USING fts5(text, content='message_texts', content_rowid='message_id', "
    "tokenize='trigram')",
    f"CREATE TRIGGER message_texts_added AFTER INSERT ON message_texts BEGIN {_INDEX} END",
    f"CREATE TRIGGER message_texts_removed AFTER DELETE ON message_texts BEGIN {_UNINDEX} END",
    f"CREATE TRIGGER message_texts_changed AFTER UPDATE ON message_texts BEGIN {_UNINDEX} {_INDEX} END",
)


def upgrade() -> None:
    _conversations()
    _messages()
    _kept()
    if op.get_bind().dialect.name == "sqlite" and _has_trigram():
        for statement in _FTS:
            op.execute(statement)


def _has_trigram() -> bool:
    try:
        op.execute("CREATE VIRTUAL TABLE trigram_probe USING fts5(text, tokenize='trigram')")
    except sa.exc.OperationalError:  # SQLite before 3.34 or built without FTS5: searches go through LIKE
        return False
    op.execute("DROP TABLE trigram_probe")
    return True


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("title_auto", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("system_prompt", sa.Text, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("active_leaf", _ROW_ID),
    )
    op.create_index("conversations_newest", "conversations", ["owner", "deleted_at", "updated_at", "id"])


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column(
            "conversation_id", sa.String(32), sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("parent_id", _ROW_ID, sa.ForeignKey("messages.id")),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("messages_tree", "messages", ["conversation_id", "id", "parent_id"])
    op.create_index("ix_messages_parent_id", "messages", ["parent_id"])
    op.create_index("messages_writing", "messages", ["status"], sqlite_where=_WRITING, postgresql_where=_WRITING)
    op.create_table("message_texts", _message_id(), sa.Column("text", sa.Text, nullable=False))
    op.create_table("traces", _message_id(), sa.Column("data", sa.LargeBinary, nullable=False))


def _kept() -> None:
    op.create_table(
        "attachments",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "message_attachments",
        _message_id(),
        sa.Column("sha256", sa.String(64), sa.ForeignKey("attachments.sha256"), primary_key=True),
    )
    op.create_index("ix_message_attachments_sha256", "message_attachments", ["sha256"])
    op.create_table(
        "presets",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("owner", "name", name="presets_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "transcripts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("audio_sha256", sa.String(64), sa.ForeignKey("attachments.sha256")),
        sa.Column("audio_name", sa.Text, nullable=False),
        sa.Column("audio_type", sa.Text, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_transcripts_audio_sha256", "transcripts", ["audio_sha256"])
    op.create_index("transcripts_newest", "transcripts", ["owner", "deleted_at", "updated_at", "id"])


def _message_id() -> sa.Column[int]:
    return sa.Column("message_id", _ROW_ID, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
