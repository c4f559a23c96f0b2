"""API keys. Only their sha256 is kept: a key is 256 random bits, so a slow hash would add nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from llm.config import config
from llm.errors import InvalidRequest, NotFound
from llm.files import write_whole

PREFIX = "hearth-"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key after it was made: its name, when it was made, and its last characters."""

    name: str
    created: str
    ending: str


class Keys:
    """The keys in `<data>/api_keys.json` and those that HEARTH_API_KEYS names."""

    @property
    def path(self) -> Path:
        return config().home / "api_keys.json"

    def create(self, name: str) -> str:
        """A new key, which is shown this once.

        Raises:
            InvalidRequest: the name is empty or taken.
        """
        key = PREFIX + secrets.token_urlsafe(32)
        with self._lock():
            rows = self._rows()
            if not name.strip() or any(row["name"] == name for row in rows):
                raise InvalidRequest(detail=f"a key needs a name that no other key has, not {name!r}")
            created = datetime.now(UTC).isoformat(timespec="seconds")
            rows.append({"name": name, "created": created, "ending": key[-4:], "sha256": _hash(key)})
            self._write(rows)
        return key

    def listed(self) -> list[KeyInfo]:
        return [KeyInfo(row["name"], row["created"], row["ending"]) for row in self._rows()]

    def revoke(self, name: str) -> None:
        """Makes a key invalid, at once and for every process.

        Raises:
            NotFound: there is no key of that name.
        """
        with self._lock():
            rows = self._rows()
            kept = [row for row in rows if row["name"] != name]
            if len(kept) == len(rows):
                raise NotFound(what="key", id=name)
            self._write(kept)

    def accepts(self, given: str) -> bool:
        """Whether a key is valid. Every known key is compared, each in constant time."""
        known = [row["sha256"] for row in self._rows()]
        known += [_hash(key.strip()) for key in config().api_keys.split(",") if key.strip()]
        hashed = _hash(given)
        found = False
        for one in known:
            found |= hmac.compare_digest(one, hashed)
        return found

    def _rows(self) -> list[dict[str, str]]:
        try:
            rows: list[dict[str, str]] = json.loads(self.path.read_text(encoding="utf-8"))
            return rows
        except FileNotFoundError:
            return []

    def _write(self, rows: list[dict[str, str]]) -> None:
        write_whole(self.path, json.dumps(rows, indent=1), private=True)

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
