"""A store on each database: SQLite always, PostgreSQL where HEARTH_TEST_POSTGRES is the URL of an empty one.

That database is emptied before each test.
"""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm.config import config
from llm.store import Store, store
from llm.store.database import open_database

POSTGRES = os.environ.get("HEARTH_TEST_POSTGRES", "")


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.skipif(not POSTGRES, reason="no PostgreSQL given"))]
)
def home(request, tmp_path: Path, monkeypatch):
    """A fresh data folder and database, configured."""
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path))
    monkeypatch.delenv("HEARTH_DATABASE_URL", raising=False)
    if request.param == "postgres":
        monkeypatch.setenv("HEARTH_DATABASE_URL", POSTGRES)
        engine = sa.create_engine(POSTGRES)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        engine.dispose()
    config.cache_clear()
    yield tmp_path
    open_database(config().database, config().attachments_dir, lambda db: None).close()
    config.cache_clear()


@pytest.fixture
def kept(home: Path) -> Store:
    return store()
