"""Taking names, keys and home folders out of texts that are shown or handed on."""

from __future__ import annotations

import getpass
import re
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

HIDDEN = "***"

# Tokens by the prefixes of those who issue them, and values after words that announce a secret.
_SECRETS = (
    re.compile(r"\b(?:hf|api_org|ms|sk|ghp|gho|github_pat|glpat|xoxb|AKIA)[-_][A-Za-z0-9_\-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{5,}\.?[A-Za-z0-9_\-]*"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
_ANNOUNCED = re.compile(
    r"""(?ix)
    (\b(?:authorization["']?\s*[:=]\s*["']?(?:bearer|basic)|bearer
      |[\w-]*(?:token|api[_-]?key|secret|password|passwd|cookie))["']?\s*[:=\s]\s*["']?)
    ([^\s"',;&]{3,})"""
)
_QUERY = re.compile(r"(?i)([?&](?:token|key|sig|signature|x-amz-[\w-]+|expires|policy)=)[^&\s\"']+")


def redact(text: str) -> str:
    """The text without secrets, the home folder's path and the user's and host's names."""
    return hide_names(hide_home(without_secrets(text)))


def without_secrets(text: str) -> str:
    """The text without tokens, keys and passwords, also those in addresses."""
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    for pattern in _SECRETS:
        text = pattern.sub(HIDDEN, text)
    return _ANNOUNCED.sub(_announced, text)


def _announced(found: re.Match[str]) -> str:
    # "3 tokens generated" announces nothing: a bare word after a blank is a secret only if it looks like one.
    words = found.group(1).lower()
    if not re.search(r"[:=]\s*[\"']?$", words) and not words.startswith(("bearer", "authorization")):
        return found.group(0)
    return found.group(1) + HIDDEN


def hide_home(text: str) -> str:
    """Paths below the home folder begin with `~`, and other people's home folders lose their names."""
    for home in _homes():
        text = re.sub(re.escape(home) + r"(?=$|[\\/\s\"':;,)\]])", "~", text)
    return re.sub(
        r"((?:(?<![\w.~\-])/home/|(?<![\w.~\-])/Users/|[A-Za-z]:\\+Users\\+))[^\\/\s\"':]+", r"\1" + HIDDEN, text
    )


def hide_names(text: str) -> str:
    """The names of the user and of the machine, where they are long enough to be no ordinary word."""
    for name in _names():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", HIDDEN, text)
    return text


@cache
def _homes() -> tuple[str, ...]:
    try:
        home = Path.home()
    except RuntimeError:
        return ()
    found = {str(home), home.as_posix(), str(home).replace("\\", "\\\\"), str(home.resolve())}
    return tuple(sorted((text for text in found if len(text) > 1), key=len, reverse=True))


@cache
def _names() -> tuple[str, ...]:
    found = [socket.gethostname()]
    with suppress(OSError, KeyError, ImportError):
        found.append(getpass.getuser())
    common = {"root", "user", "admin", "localhost", "ubuntu", "debian", "python", "hearth"}
    return tuple(name for name in found if len(name) >= 4 and name.lower() not in common)
