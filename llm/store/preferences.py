"""What a person chose and expects to find again: the model of each page, panels that stand open, drafts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from llm.store.conversations import Owned
from llm.store.database import preferences


class Preferences(Owned):
    __slots__ = ()

    def all(self) -> dict[str, Any]:
        """Every name with its JSON value."""
        with self.db.read() as connection:
            rows = connection.execute(sa.select(preferences).where(preferences.c.owner == self.owner))
            return {row.name: row.value for row in rows}

    def set(self, name: str, value: Any) -> None:
        """Keeps a JSON value under a name of 1 to 200 characters; None forgets it."""
        here = sa.and_(preferences.c.owner == self.owner, preferences.c.name == name)
        with self.db.write() as connection:
            connection.execute(sa.delete(preferences).where(here))
            if value is not None:
                connection.execute(sa.insert(preferences), {"owner": self.owner, "name": name, "value": value})
