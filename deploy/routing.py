"""Which replica answers a conversation: rendezvous hashing, so that nobody has to remember anything.

Every place in the cluster draws a lot for the conversation, a hash of both, and the highest wins (Thaler and
Ravishankar, "Using name-based mappings to increase hit rates", 1998). All fronts come to the same choice
without talking to each other, and when a replica dies only its own conversations move, each to its second
highest lot. Its replacement takes over its place and so its conversations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

PLACE = "place"
"""Under this name a replica tells its rank in the cluster, which its replacement inherits."""


def lot(conversation: str, place: str) -> bytes:
    """What a place draws for a conversation; the highest is the conversation's place."""
    return hashlib.sha256(f"{place}\0{conversation}".encode("utf-8", "replace")).digest()


def ranked(conversation: str, places: Iterable[str]) -> list[str]:
    """Places from the first to the last choice."""
    return sorted(places, key=lambda place: lot(conversation, place), reverse=True)


class Rendezvous(RequestRouter):
    """Offers Ray Serve the replicas in a conversation's order: the next one is for when the one before is full.

    A request without a conversation is spread by its own id.
    """

    # How long a replica may take to say how many requests it has. Ray's own 0.1 s would move a conversation
    # whenever its replica is busy for a moment.
    queue_len_response_deadline_s = 2.0

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """See `ray.serve.request_router.RequestRouter`: ranks of replicas, tried in turn."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # when all are full, wait a little before the next round
        said = pending_request.metadata
        conversation = said.session_id or said.internal_request_id

        def lots(replica: RunningReplica) -> tuple[bytes, bytes]:
            identity = str(replica.replica_id.unique_id)
            place = str(replica.replica_metadata.get(PLACE, identity))
            # While ranks change hands two may claim one place.
            return lot(conversation, place), lot(conversation, identity)

        return [[replica] for replica in sorted(candidate_replicas, key=lots, reverse=True)]


def place_of(context: Any) -> dict[str, int]:
    """What a replica tells the fronts, from its `serve.get_replica_context()`."""
    return {PLACE: context.rank.rank}
