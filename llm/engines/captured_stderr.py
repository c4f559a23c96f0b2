"""What a native library says on the process's own outputs, where its errors carry no reason.

llama.cpp explains on standard error why it refuses a file or finds no memory; the binding raises only that it failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from types import TracebackType

_STDERR = 2
_one_at_a_time = threading.Lock()


class Overheard:
    """`with Overheard() as said:` holds standard error back for a while; then it goes where it was to go, and
    `said.text` has it.

    Others' words of the same moments are among them: it is for finding a reason in, not for parsing. A file and
    no pipe, since a process that is started meanwhile would hold a pipe open. Where there is no standard error
    (Windows without a console), nothing is heard.
    """

    text = ""

    def __enter__(self) -> Overheard:
        _one_at_a_time.acquire()
        try:
            self._original: int | None = os.dup(_STDERR)
        except OSError:
            self._original = None
            return self
        self._file = tempfile.TemporaryFile()
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(self._file.fileno(), _STDERR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._original is None:
                return
            os.dup2(self._original, _STDERR)
            self._file.seek(0)
            heard = self._file.read()
            self._file.close()
            if heard:
                os.write(self._original, heard)
            os.close(self._original)
            self.text = heard.decode("utf-8", errors="replace")
        finally:
            _one_at_a_time.release()
