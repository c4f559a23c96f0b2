"""The real app in a process of its own, as `streamlit run Home.py` starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEALTHY_WITHIN_S = 60
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class AppServer:
    """Starts, kills and restarts the app on one port and one data folder. `log` is what it has printed."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    script: str = "Home.py"
    arguments: tuple[str, ...] = ()
    folder: Path = REPOSITORY
    port: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self.home.mkdir(parents=True, exist_ok=True)
        self.log_file = self.home / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> AppServer:
        """Returns when it answers its health check.

        Raises:
            RuntimeError: it ended, or did not answer in time; with its log.
        """
        command = [sys.executable, "-m", "streamlit", "run", self.script]
        command += ["--server.port", str(self.port), "--server.headless", "true", *self.arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**kept, "HEARTH_HOME": str(self.home), **self.env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the app did not start:\n{self.log}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Asks it to end, as Ctrl+C does, and waits."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> AppServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _healthy(self) -> bool:
        try:
            with _DIRECT.open(f"{self.url}/_stcore/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
