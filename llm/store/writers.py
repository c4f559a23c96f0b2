"""Who is writing an answer, and whether they still live.

An answer on its way names its process. A process on this machine is asked for directly, so that after a crash
the next start knows at once; one on another machine (several over one PostgreSQL), or a thread that ended
without a word, is known by its silence.
"""

from __future__ import annotations

import os
import platform
import uuid
from datetime import datetime, timedelta
from functools import cache

import psutil

SILENCE = timedelta(minutes=2)
"""A writer that saved nothing for so long is taken for gone; its next save brings the answer back."""


@cache
def _machine() -> str:
    return f"{platform.node()}-{uuid.getnode():x}"


def this_writer() -> str:
    """Names this process: machine, process id and the moment it began, since ids come round again."""
    return _writer(os.getpid())


@cache
def _writer(pid: int) -> str:
    return f"{_machine()}/{pid}/{psutil.Process(pid).create_time():.2f}"


def is_gone(writer: str, updated_at: datetime, now: datetime) -> bool:
    """Whether nobody will go on with the answer that `writer` last saved at `updated_at`."""
    if now - updated_at > SILENCE:
        return True
    machine, _, process = writer.partition("/")
    pid, _, began = process.partition("/")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        # the clock that process start times are told by may be adjusted, hence not exactly equal
        return bool(abs(psutil.Process(int(pid)).create_time() - float(began)) > 2)
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False
