"""Alembic's way in. `llm.store.database` calls it with a connection that already holds the migration lock."""

from alembic import context

from llm.store.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's tables are made in one transaction too, as we begin it ourselves
)
with context.begin_transaction():
    context.run_migrations()
