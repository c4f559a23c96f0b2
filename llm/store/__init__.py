"""What is kept: conversations with their branches, attachments, presets, transcripts.

    kept = store()                                  # the local person's; store("ann@example.org") is Ann's
    conversation = kept.create_conversation(model="smollm2-135m-instruct-q4_1")
    kept.add(conversation.id, user("What is a hearth?"))
    answer = kept.begin_answer(conversation.id)
    kept.save_partial(answer, [TextPart("A fire")])         # about once a second
    kept.finish_answer(answer, [TextPart("A fireplace.")], Meta(), Trace(prompt, tokens))
    kept.path(conversation.id)

Every call is a short transaction of its own and may come from any thread. Values are frozen; no database row
leaves the package. What belongs to another owner is as if it were not there.
"""

from __future__ import annotations

from llm.config import config
from llm.store.conversations import title_of
from llm.store.core import Purged, Store, housekeeping
from llm.store.database import open_database
from llm.store.messages import LATEST
from llm.store.trace import Trace
from llm.store.values import (
    KINDS,
    Conversation,
    Kind,
    Meta,
    Page,
    Preset,
    Snippet,
    StoredMessage,
    Transcript,
    WaitingQuestion,
)

__all__ = [
    "KINDS",
    "LATEST",
    "Conversation",
    "Kind",
    "Meta",
    "Page",
    "Preset",
    "Purged",
    "Snippet",
    "Store",
    "StoredMessage",
    "Trace",
    "Transcript",
    "WaitingQuestion",
    "store",
    "title_of",
]


def store(owner: str = "local") -> Store:
    """The store of the configured database as one owner sees it; cheap to call again.

    The first call of a process opens the database, brings it up to date, settles answers that a dead process
    left, and purges what was deleted more than thirty days ago.

    Raises:
        ValueError: the owner's name is empty or longer than 200 characters.
        NewerDatabase, MissingPackage: see `Database`.
    """
    if not owner or len(owner) > 200:
        raise ValueError("an owner's name has 1 to 200 characters")
    return Store(open_database(config().database, config().attachments_dir, housekeeping), owner)
