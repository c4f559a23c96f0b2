"""`python -m llm chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape

from llm.cancel import Cancel
from llm.cli import terminal
from llm.config import config
from llm.errors import Cancelled, ModelError
from llm.messages import Message, assistant
from llm.runtime.protocols import ChatModel
from llm.settings import GenerationSettings

notes = Console(stderr=True)
HELP = """/system TEXT   sets the system prompt; alone it shows it
/save FILE     writes the conversation as Markdown
/new           begins anew
/help          this list
/quit          ends, as Ctrl-D does
\"\"\"            begins and ends a message of several lines; a line ending in \\ goes on too
Ctrl-C         stops the answer and keeps what was written"""
_MARKS = '"""'


class Talk:
    """The conversation so far, and the loop that reads and answers."""

    def __init__(self, handle: ChatModel, settings: GenerationSettings, system: str) -> None:
        self._handle = handle
        self._settings = settings
        self._system = system
        self._messages: list[Message] = []

    def run(self) -> None:
        """Reads until the end of input."""
        notes.print(f"[dim]{escape(self._handle.entry.name)}. /help lists what can be typed.[/dim]")
        with _history(config().home / "terminal_history"):
            while True:
                try:
                    typed = read()
                except EOFError:
                    return
                except KeyboardInterrupt:
                    notes.print("[dim]Ctrl-D or /quit ends.[/dim]")
                    continue
                if typed.startswith("/"):
                    if not self.command(typed):
                        return
                elif typed.strip():
                    self.say(typed)

    def say(self, words: str) -> None:
        """One turn. Ctrl-C ends the answer alone; an error takes the question back."""
        self._messages.append(terminal.question(words))
        reply = terminal.Reply(self._handle.entry.id)
        cancel = Cancel()
        try:
            messages = [*terminal.opening(self._system), *self._messages]
            with _ctrl_c_sets(cancel):
                terminal.answer(self._handle, messages, self._settings, show=True, into=reply, cancel=cancel)
        except (Cancelled, KeyboardInterrupt):
            cancel.set()
        except ModelError as error:
            self._messages.pop()
            notes.print(f"[red]{escape(str(error))}[/red]")
            return
        if cancel.is_set():
            notes.print("[dim]stopped[/dim]")
        self._messages.append(assistant(reply.text))

    def command(self, typed: str) -> bool:
        """Carries out a line that begins with `/`. False ends the talk."""
        name, _, rest = typed.partition(" ")
        match name:
            case "/quit" | "/exit":
                return False
            case "/system":
                self._system = rest.strip() or self._system
                notes.print(f"[dim]system: {escape(self._system or '(none)')}[/dim]")
            case "/new":
                self._messages.clear()
            case "/save":
                self._save(rest.strip())
            case _:
                notes.print(escape(HELP), style="dim")
        return True

    def _save(self, name: str) -> None:
        if not name:
            notes.print("[red]/save needs a file's name[/red]")
            return
        said = [*terminal.opening(self._system), *self._messages]
        text = "\n\n".join(f"## {message.role}\n\n{message.text}" for message in said)
        try:
            Path(name).expanduser().write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            notes.print(f"[red]{escape(str(error))}[/red]")
            return
        notes.print(f"[dim]{escape(name)}[/dim]")


def read() -> str:
    """One message: a line, or several between marks or after backslashes. Raises EOFError at the end of input."""
    first, further = ("> ", ". ") if sys.stdin.isatty() else ("", "")
    line = input(first)
    if line.startswith(_MARKS):
        lines = [line[len(_MARKS) :]]
        while not lines[-1].endswith(_MARKS) or (len(lines) == 1 and not lines[0]):
            lines.append(input(further))
        lines[-1] = lines[-1][: -len(_MARKS)]
        return "\n".join(lines).strip("\n")
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(further))
    return "\n".join(lines)


@contextlib.contextmanager
def _ctrl_c_sets(cancel: Cancel) -> Iterator[None]:
    """Ctrl-C cancels; pressed again it interrupts. As an exception alone it is lost where Python ignores exceptions."""

    def handle(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _history(path: Path) -> Any:
    """Arrow keys and lines typed before, where Python has readline (not on Windows, whose console has its own)."""
    try:
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)
            path.chmod(0o600)
