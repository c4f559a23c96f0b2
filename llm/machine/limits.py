"""Limits set on this process from outside: control groups (containers), address space, processor affinity.

A container that may use 4 GB of a 64 GB machine has 4 GB; asking the kernel for the machine's own figures
there ends with the process killed. Formats: Linux `Documentation/admin-guide/cgroup-v2.rst` and
`cgroup-v1/memory.rst`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

THREADS_BYTES = 300 << 20
"""Of an address space limit, what a loaded model's threads take without using memory: stacks of 8 MiB, and the
allocator's arenas. C++ ends the whole process where a thread cannot be started, so this much stays free."""
# A version 1 group without a limit reports the largest multiple of the page size below 2**63.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What this process may use. None: no limit beside the machine's own.

    memory_bytes: the tightest memory limit. memory_left_bytes: what is left of it now. cpus: processors'
    worth of time, as a fraction where a quota says so. source: which limit binds, for people to read.
    """

    memory_bytes: int | None = None
    memory_left_bytes: int | None = None
    cpus: float | None = None
    source: str = ""


def limits(root: Path = Path("/")) -> Limits:
    """All limits in one. `root` stands before `proc` and `sys`, so that tests bring their own."""
    memory = list(_memory_limits(root))
    cpus = [quota for group in _groups(root, "cpu") if (quota := _cpu_quota(group)) is not None]
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        cpus.append(float(len(os.sched_getaffinity(0))))
    if root == Path("/") and (space := _address_space()) is not None:
        memory.append(space)
    if not memory:
        return Limits(cpus=min(cpus, default=None))
    total, _, source = min(memory)
    left = min(item[1] for item in memory)
    return Limits(total, max(left, 0), min(cpus, default=None), source)


def _memory_limits(root: Path) -> Iterator[tuple[int, int, str]]:
    """(limit, left, source) of each group from the process's own up to the root."""
    for group in _groups(root, "memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        if limit is None or limit >= _NO_LIMIT:
            continue
        # Pages of files read once count as used and are given back at need: they are not in the way.
        yield limit, limit - max(used - _inactive_file(group), 0), "control group"


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, own first, for both versions of the interface."""
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            base = root / "sys/fs/cgroup"
            if not (base / "cgroup.controllers").exists():
                base = base / "unified"
        elif controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
            if not base.is_dir():
                base = root / "sys/fs/cgroup" / controller
        else:
            continue
        folder = base / path.strip("/")
        # Inside a container the path may be the host's; then the mount itself is the process's own group.
        yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(base)))


def _cpu_quota(group: Path) -> float | None:
    words = (_lines(group / "cpu.max") or [""])[0].split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and quota > 0 and period else None


def _inactive_file(group: Path) -> int:
    values = dict(line.split(" ", 1) for line in _lines(group / "memory.stat") if " " in line)
    text = values.get("total_inactive_file") or values.get("inactive_file") or "0"
    return int(text) if text.isdigit() else 0


def _address_space() -> tuple[int, int, str] | None:
    """`ulimit -v`: the address space that the process may take, which mapped files count against."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft >= _NO_LIMIT:
        return None
    import psutil

    return soft, soft - psutil.Process().memory_info().vms - THREADS_BYTES, "address space limit"


def _number(file: Path) -> int | None:
    text = (_lines(file) or [""])[0]
    try:
        return int(text)
    except ValueError:
        return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def usable_cpus(limit: float | None, logical: int) -> int:
    """Whole processors to plan threads for: a quota of 1.5 keeps two threads busy."""
    return logical if limit is None else max(1, min(logical, math.ceil(limit)))
