"""Work in a program of its own: it can be ended at once, and what it takes or breaks is not the server's.

The parent writes `params.json` into a folder and runs `python -m <module> <folder>`; the child reports by appending
lines of JSON to `events.jsonl` there. The child's input stays open as long as the parent lives; when it closes, the
child ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from llm.cancel import Cancel
from llm.errors import Cancelled, ChildFailed, ChildTookTooLong, ChildTookTooMuch, ModelError
from llm.files import write_whole
from llm.paths import SOURCES

Event: TypeAlias = dict[str, Any]
_POLL_S = 0.05
_GRACE_S = 5.0
"""How long a child that is told to end may take to keep what it has."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Bounds of a child program and its own children; None is none. memory_bytes: resident memory."""

    memory_bytes: int | None = None
    wall_s: float | None = None


def run_child(
    module: str,
    params: Mapping[str, Any],
    folder: Path,
    cancel: Cancel | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    limits: ChildLimits = ChildLimits(),
) -> dict[str, Any]:
    """Runs a module's `main` as a program and returns the result that it emitted.

    Args:
        folder: where the two speak; made if it is not there. What the child prints goes to `output.txt` in it.
        on_event: called with each `{"event": name, ...}` that is neither result nor error, in this thread.

    Raises:
        Cancelled: `cancel` was set. The child was told to end and had some seconds to keep what it has.
        ChildTookTooMuch, ChildTookTooLong: it went beyond its limits and was ended.
        ChildFailed: it ended without a result.
        ModelError: what the child raised, with its code and values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "params.json", json.dumps(dict(params), ensure_ascii=False))
    events = folder / "events.jsonl"
    position = events.stat().st_size if events.exists() else 0  # those before are an earlier run's
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH", "")]))
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        )
    outcome: list[Event] = []

    def take() -> None:
        nonlocal position
        found, position = _events_after(events, position)
        for event in found:
            if event.get("event") in ("result", "error"):
                outcome.append(event)
            else:
                on_event(event)

    try:
        _watch(process, take, cancel, limits, module)
    finally:
        _end(process)
    take()
    return _result(outcome, module, process.returncode, folder / "output.txt")


def _watch(
    process: subprocess.Popen[bytes], take: Callable[[], None], cancel: Cancel | None, limits: ChildLimits, what: str
) -> None:
    begun = time.monotonic()
    while process.poll() is None:
        if cancel is not None and cancel.is_set():
            raise Cancelled(what=what)
        if limits.wall_s is not None and time.monotonic() - begun > limits.wall_s:
            _kill(process)
            raise ChildTookTooLong(limit_s=limits.wall_s)
        if limits.memory_bytes is not None and resident_bytes(process.pid) > limits.memory_bytes:
            _kill(process)
            raise ChildTookTooMuch(limit_bytes=limits.memory_bytes)
        take()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)


def _result(outcome: list[Event], module: str, code: int, output: Path) -> dict[str, Any]:
    last = outcome[-1] if outcome else {}
    if last.get("event") == "result":
        return {name: value for name, value in last.items() if name not in ("event", "at")}
    if last.get("event") == "error":
        raise _again(last["code"], last["values"], last["text"])
    said = output.read_text(encoding="utf-8", errors="replace").strip().splitlines() if output.exists() else []
    raise ChildFailed(detail=said[-1][:400] if said else f"{module} ended with {code}")


def _again(code: str, values: Mapping[str, Any], text: str) -> ModelError:
    """The child's error as its own class; one that this process has not imported by its code and values."""
    classes = [ModelError]
    for each in classes:
        if each.code == code and each is not ReportedError:
            return each(**values)
        classes += each.__subclasses__()
    return ReportedError(code, values, text)


class ReportedError(ModelError):
    """An error of another process, known by its code and values."""

    def __init__(self, code: str, values: Mapping[str, Any], text: str) -> None:
        self.code = code  # type: ignore[misc] # of the class elsewhere, here of what the child raised
        self.sentence = text.replace("{", "{{").replace("}", "}}")  # type: ignore[misc]
        super().__init__(**values)


def resident_bytes(pid: int) -> int:
    """Memory of a process and its children; 0 when it has ended."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _kill(process: subprocess.Popen[bytes]) -> None:
    children = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    for each in children:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closes the child's input, at which it ends by itself; one that does not is killed."""
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _events_after(path: Path, position: int) -> tuple[list[Event], int]:
    """The events behind a position, and where the next ones begin. A half-written line waits."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            whole, end, _ = file.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], position
    events = []
    for line in whole.split(b"\n"):
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return [event for event in events if isinstance(event, dict)], position + len(whole) + len(end)


class Emitter:
    """The child's side: reads what it was asked, tells what happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.params: dict[str, Any] = json.loads((folder / "params.json").read_text(encoding="utf-8"))
        self.cancel = Cancel()
        """Set when the parent wants the work to end, or is gone."""
        self._lock = threading.Lock()

    def emit(self, event: str, **values: Any) -> None:
        """Tells the parent of something; values are JSON. `at` is when, in seconds since 1970."""
        told = {"event": event, "at": round(time.time(), 3), **values}
        line = json.dumps(told, ensure_ascii=False, default=str) + "\n"
        with self._lock, (self.folder / "events.jsonl").open("ab") as file:
            file.write(line.encode())


def child_main(work: Callable[[Emitter], Mapping[str, Any] | None]) -> None:
    """The `main` of a child program: runs the work on the folder that the command line names, and tells how it ended.

    When the parent is gone or wants no more, `cancel` is set; work that does not end within a few seconds is ended.
    """
    emitter = Emitter(Path(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(emitter.cancel,), daemon=True).start()
    try:
        emitter.emit("result", **dict(work(emitter) or {}))
    except ModelError as error:
        emitter.emit("error", code=error.code, values=error.values, text=str(error))
        sys.exit(1)
    except Exception as error:  # told with its trace in the output, and in a sentence
        traceback.print_exc()
        failed = ChildFailed(detail=f"{type(error).__name__}: {error}")
        emitter.emit("error", code=failed.code, values=failed.values, text=str(failed))
        sys.exit(1)


def _end_with_parent(cancel: Cancel) -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the program ends
        pass
    cancel.set()
    time.sleep(_GRACE_S)
    os._exit(3)
