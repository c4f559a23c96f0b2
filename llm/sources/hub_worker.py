"""The program that downloads from a hub: `python -m llm.sources.hub_worker`, its request on standard input.

The request is one line of JSON (so that a token never shows in a list of processes). Standard input then
stays open; when it closes, whoever asked is gone, and so is this program. What happens is reported as lines
of JSON in the request's `events` file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm.sources.hub_report import Reporter, WrongBytes


def main() -> int:
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    reporter = Reporter(Path(request["events"]))
    try:
        if request["kind"] == "huggingface":
            from llm.sources.hub_huggingface import fetch, listing
        else:
            from llm.sources.hub_modelscope import fetch, listing
        if request.get("only") == "list":
            sizes, config = listing(request)
            reporter.say("listed", sizes=sizes, config=config)
        else:
            reporter.say("arrived", path=str(fetch(request, reporter)))
        return 0
    except ImportError as error:
        reporter.say("error", kind="package", name=error.name or request["kind"])
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        reporter.say("error", **describe(error))
    return 1


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(3)


def describe(error: BaseException) -> dict[str, Any]:
    """What kind of failure an exception of either library is: disk, hash, access, network, or anything else."""
    causes = list(_causes(error))
    detail = " ".join(str(causes[-1] if isinstance(causes[-1], OSError) else error).split())[:400]
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"kind": "disk", "detail": detail}
        if isinstance(cause, WrongBytes):
            return {"kind": "hash", "name": cause.name, "actual": cause.actual, "expected": cause.expected}
    names = {name for cause in causes for name in _class_names(cause)}
    if names & {"FileIntegrityError", "FileSizeMismatchError"}:
        return _integrity(causes)
    codes = {code for code in map(_status, causes) if code}
    if codes & {401, 403} or names & {"GatedRepoError", "AuthenticationError", "PermissionDeniedError"}:
        return {"kind": "access", "detail": detail}
    if codes & {404} or names & {"NotExistError", "RepositoryNotFoundError", "RevisionNotFoundError"}:
        return {"kind": "failed", "detail": f"it is not there ({detail})"}
    if any(code == 408 or code == 429 or code >= 500 for code in codes) or names & _NETWORK:
        return {"kind": "network", "detail": detail}
    return {"kind": "failed", "detail": detail}


_NETWORK = {
    "ConnectionError", "ConnectError", "TimeoutException", "RemoteProtocolError", "ReadError", "WriteError",
    "NetworkError", "ServerError", "RateLimitError", "Timeout", "ProtocolError", "LocalEntryNotFoundError",
    "ProxyError", "TransportError", "_DownloadDeadlineError", "_IncompleteBodyError", "ChunkedEncodingError",
}  # fmt: skip


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, those it lists by file, and those it came from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting.extend(getattr(current, "failed_files", {}).values())
        waiting += [current.__cause__, current.__context__]


def _class_names(error: BaseException) -> Iterator[str]:
    return (cls.__name__ for cls in type(error).__mro__)


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", None) or getattr(error, "status_code", None)
    return code if isinstance(code, int) else 0


def _integrity(causes: list[BaseException]) -> dict[str, Any]:
    """ModelScope's library only says so in words."""
    text = " ".join(str(cause) for cause in causes)
    found = re.search(r"Hash mismatch for (\S+): expected (\w+)\S* got (\w+)", text)
    if found:
        return {"kind": "hash", "name": found[1], "expected": found[2] + "...", "actual": found[3] + "..."}
    return {"kind": "failed", "detail": " ".join(text.split())[:400]}


if __name__ == "__main__":
    sys.exit(main())
