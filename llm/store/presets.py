"""Named system prompts."""

from __future__ import annotations

import builtins

import sqlalchemy as sa

from llm.errors import NotFound
from llm.store.conversations import Owned
from llm.store.database import clean, presets, utc_now
from llm.store.values import Preset


class Presets(Owned):
    __slots__ = ()

    def list(self) -> builtins.list[Preset]:
        """All of the owner's, by name."""
        with self.db.read() as connection:
            rows = connection.execute(
                sa.select(presets).where(presets.c.owner == self.owner).order_by(sa.func.lower(presets.c.name))
            )
            return [Preset(row.id, row.name, row.text, row.updated_at) for row in rows]

    def save(self, name: str, text: str) -> Preset:
        """Keeps a prompt under a name; one of the same name is written over.

        Raises:
            ValueError: the name is blank or longer than 200 characters.
        """
        name = clean(name).strip()
        if not name or len(name) > 200:
            raise ValueError("a preset's name has 1 to 200 characters")
        values = {"text": clean(text), "updated_at": utc_now()}
        here = sa.and_(presets.c.owner == self.owner, presets.c.name == name)
        with self.db.write() as connection:
            if not connection.execute(sa.update(presets).where(here).values(values)).rowcount:
                connection.execute(sa.insert(presets), {"owner": self.owner, "name": name, **values})
            row = connection.execute(sa.select(presets).where(here)).one()
        return Preset(row.id, row.name, row.text, row.updated_at)

    def delete(self, preset_id: int) -> Preset:
        """Removes a prompt and returns it; `save` with its name and text undoes that. Raises NotFound."""
        with self.db.write() as connection:
            row = connection.execute(
                sa.delete(presets).where(presets.c.id == preset_id, presets.c.owner == self.owner).returning(presets)
            ).one_or_none()
        if row is None:
            raise NotFound(what="preset", id=preset_id)
        return Preset(row.id, row.name, row.text, row.updated_at)
