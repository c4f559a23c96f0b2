"""What a conversation is (chat or image), its place in the list, questions that wait, and what a person chose."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("conversations", sa.Column("kind", sa.String(16), nullable=False, server_default="chat"))
    op.add_column("conversations", sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("conversations", sa.Column("folder", sa.Text, nullable=False, server_default=""))
    _find_kinds()
    op.create_table(
        "waiting_questions",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column(
            "conversation_id", sa.String(32), sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("parent_id", _ROW_ID),
        sa.Column("parts", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_waiting_questions_conversation_id", "waiting_questions", ["conversation_id"])
    op.create_table(
        "preferences",
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )


def _find_kinds() -> None:
    """Conversations about pictures hold one, or were answered by the reader of pictures' texts."""
    op.execute("UPDATE conversations SET kind = 'image' WHERE model LIKE 'reader:%'")
    parts = sa.table("messages", sa.column("conversation_id"), sa.column("parts", sa.JSON))
    rows = op.get_bind().execute(sa.select(parts.c.conversation_id, parts.c.parts))
    seen = sorted({row.conversation_id for row in rows if any(part.get("type") == "image" for part in row.parts)})
    if seen:
        op.get_bind().execute(
            sa.text("UPDATE conversations SET kind = 'image' WHERE id = :id"), [{"id": found} for found in seen]
        )
