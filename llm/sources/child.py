"""Runs a program that downloads, and ends it at once when it is no longer wanted.

Downloads run as programs of their own because neither pip nor the hubs' libraries can be cancelled from
outside, and because their endpoint, token and cache are read from the environment when they are imported.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llm.sources.base import check

_POLL_S = 0.1
_GRACE_S = 2.0
_MAX_OUTPUT_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    output: str = field(repr=False)


def run(
    arguments: Sequence[str],
    name: str,
    environment: Mapping[str, str],
    stop: threading.Event | None,
    poll: Callable[[], None],
    request: str = "",
) -> Result:
    """Runs `python arguments...`, calling `poll` ten times a second until it ends.

    `name` is what the program works for, told when it is stopped. Its output is read by a thread, which keeps the
    end of it: no pipe can fill, and a program that dies of a full disk can still say so. `request` is its first line
    of input, and its input stays open as long as this process lives. An exception from `poll`, or `stop`, ends the
    program before it is passed on.

    Raises:
        Cancelled: `stop` was set.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    output = deque[bytes](maxlen=_MAX_OUTPUT_LINES)
    reader = threading.Thread(target=output.extend, args=(process.stdout,), daemon=True, name="child-output")
    reader.start()
    try:
        if request and process.stdin:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
        while process.poll() is None:
            check(stop, name)
            poll()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
    finally:
        _end(process)
        reader.join(_GRACE_S)  # a grandchild may hold the pipe open
        if process.stdout and not reader.is_alive():
            process.stdout.close()
    return Result(process.returncode, b"".join(tuple(output)).decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin:
        process.stdin.close()
