"""Questions that wait until the answer before them has ended. Neither a reload nor a restart loses them."""

from __future__ import annotations

import sqlalchemy as sa

from llm.messages import Message
from llm.store.database import waiting_questions
from llm.store.messages import LATEST, Messages
from llm.store.values import Meta, WaitingQuestion


class Waiting(Messages):
    __slots__ = ()

    def wait(self, conversation_id: str, message: Message | None, parent_id: int | None = LATEST) -> int:
        """Puts a question at the end of a conversation's queue and returns its id.

        Without a message, the question `parent_id` is to be answered again. Raises NotFound like `add`.
        """
        with self.db.write() as connection:
            self._conversation(connection, conversation_id)
            parts = None if message is None else self.attachments.encode(connection, message)[0]
            row = {"conversation_id": conversation_id, "parent_id": parent_id, "parts": parts or []}
            return int(
                connection.execute(
                    sa.insert(waiting_questions).values(row).returning(waiting_questions.c.id)
                ).scalar_one()
            )

    def waiting(self, conversation_id: str) -> list[WaitingQuestion]:
        """The questions that wait in a conversation, the next one first. Raises NotFound."""
        with self.db.read() as connection:
            self._conversation(connection, conversation_id)
            rows = connection.execute(
                sa.select(waiting_questions)
                .where(waiting_questions.c.conversation_id == conversation_id)
                .order_by(waiting_questions.c.id)
            ).all()
        return [
            WaitingQuestion(row.id, row.parent_id, self.attachments.decode("user", row.parts) if row.parts else None)
            for row in rows
        ]

    def withdraw(self, conversation_id: str, waiting_id: int) -> None:
        """Takes a question out of the queue; one that is no longer there changes nothing. Raises NotFound."""
        with self.db.write() as connection:
            self._conversation(connection, conversation_id)
            connection.execute(
                sa.delete(waiting_questions).where(
                    waiting_questions.c.conversation_id == conversation_id, waiting_questions.c.id == waiting_id
                )
            )

    def next_question(self, conversation_id: str) -> tuple[int, int] | None:
        """Takes the first question out of the queue and adds it. Returns (id in the queue, message to answer).

        A question whose place is gone goes to the end of the path that is shown.
        """
        for found in self.waiting(conversation_id):
            with self.db.write() as connection:
                here = sa.delete(waiting_questions).where(waiting_questions.c.id == found.id)
                if not connection.execute(here).rowcount:
                    continue  # another process took it
                known = set(self._rows(connection, conversation_id))
                placed = found.parent_id in (None, LATEST) or found.parent_id in known
                if found.message is not None:
                    parent = found.parent_id if placed else LATEST
                    return found.id, self._add(connection, conversation_id, found.message, parent, Meta())
                if placed and found.parent_id:
                    return found.id, found.parent_id
        return None
