"""Passwords for the pages, for when they are served to other machines.

Hashes are scrypt's (RFC 7914) with N=2^15, r=8, p=1: 32 MB and about a tenth of a second for each try.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass, field

from llm.config import config

_N, _R, _P = 1 << 15, 8, 1
_MAX_MEMORY_BYTES = 64 << 20
_MAX_CHARS = 1024
FREE_TRIES = 5
LONGEST_WAIT_S = 60.0


def hashed(password: str, salt: bytes | None = None) -> str:
    """What to configure for a password: `scrypt$salt$hash`, both in base64."""
    salt = salt or secrets.token_bytes(16)
    key = hashlib.scrypt(
        password[:_MAX_CHARS].encode("utf-8", "replace"), salt=salt, n=_N, r=_R, p=_P, maxmem=_MAX_MEMORY_BYTES
    )
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def known() -> dict[str, str]:
    """Name and hash of each login in HEARTH_LOGINS (`name:hash`, by comma).

    Raises:
        ValueError: one is not written like that.
    """
    found = {}
    for item in filter(None, (item.strip() for item in config().logins.split(","))):
        name, _, stored = item.partition(":")
        if not name or stored.count("$") != 2 or not stored.startswith("scrypt$"):
            raise ValueError("HEARTH_LOGINS must be name:hash, by comma; `python -m llm password` makes a hash")
        found[name] = stored
    return found


_NOBODY = hashed("nobody", b"a name unknown..")


@dataclass(slots=True)
class Door:
    """Checks passwords. Wrong ones for a name make its next tries wait, longer each time."""

    _wrong: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, name: str) -> float:
        """Seconds until a name may be tried again."""
        count, last = self._wrong.get(name, (0, 0.0))
        pause = min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT_S) if count >= FREE_TRIES else 0.0
        return max(0.0, last + pause - time.monotonic())

    def opens(self, name: str, password: str) -> bool:
        """Whether the password is the name's. An unknown name takes as long as a known one."""
        with self._lock:
            if self.wait_s(name):
                return False
            logins = known()
            stored = logins.get(name, _NOBODY)
            salt = base64.b64decode(stored.split("$")[1])
            right = hmac.compare_digest(hashed(password, salt), stored) and name in logins
            if right:
                self._wrong.pop(name, None)
            else:
                if len(self._wrong) > 10_000:
                    self._wrong.clear()
                self._wrong[name] = (self._wrong.get(name, (0, 0.0))[0] + 1, time.monotonic())
        return right
