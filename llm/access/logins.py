"""Passwords for the pages, for when they are served to other machines.

Hashes are scrypt's (RFC 7914) with N=2^15, r=8, p=1: 32 MB and about a tenth of a second for each try. Who has
logged in gets a pass, a signed note of name and end, with which the browser need not ask again for some days.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass, field
from functools import cache

from filelock import FileLock

from llm.config import config
from llm.files import write_whole

_N, _R, _P = 1 << 15, 8, 1
_MAX_MEMORY_BYTES = 64 << 20
_MAX_CHARS = 1024
FREE_TRIES = 5
LONGEST_WAIT_S = 60.0
PASS_DAYS = 7


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


def configured() -> bool:
    """Whether any login is set up, rightly written or not: a slip of the pen must not open the door."""
    return bool(config().logins.strip())


@cache
def _nobody() -> str:
    """What a name that nobody has is checked against, so that it takes as long as a wrong password."""
    return hashed("nobody", b"a name unknown..")


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
            stored = logins.get(name, _nobody())
            salt = base64.b64decode(stored.split("$")[1])
            right = hmac.compare_digest(hashed(password, salt), stored) and name in logins
            if right:
                self._wrong.pop(name, None)
            else:
                if len(self._wrong) > 10_000:
                    self._wrong.clear()
                self._wrong[name] = (self._wrong.get(name, (0, 0.0))[0] + 1, time.monotonic())
        return right


def pass_for(name: str) -> str:
    """A note that opens the door for some days: name, end and signature, in hexadecimal digits and `x`.

    It ends early when the password changes or the login is taken away.

    Raises:
        KeyError: there is no such login.
    """
    end = int(time.time()) + PASS_DAYS * 86_400
    return f"{name.encode().hex()}x{end:x}x{_signature(name, end)}"


def holder(note: str) -> str | None:
    """Whose pass it is; None when it is forged, over or its password has changed."""
    try:
        name, end = bytes.fromhex(note.split("x")[0]).decode(), int(note.split("x")[1], 16)
        right = _signature(name, end)
    except (ValueError, IndexError, KeyError):
        return None
    genuine = hmac.compare_digest(right.encode(), note.split("x")[-1].encode())
    return name if genuine and time.time() < end else None


def _signature(name: str, end: int) -> str:
    said = f"{name}\0{end}\0{known()[name]}"
    return hmac.new(_secret(), said.encode(), hashlib.sha256).hexdigest()


def _secret() -> bytes:
    """What this installation signs with; made at the first need, readable by this user alone."""
    path = config().home / "login_secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():  # else another process was quicker
                write_whole(path, secrets.token_bytes(32), private=True)
    return path.read_bytes()
