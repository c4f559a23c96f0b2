"""How torch, llama.cpp, CTranslate2 and the system say that memory ran out."""

from __future__ import annotations

import errno

from llm.errors import OutOfMemory

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "failed to allocate",
    "unable to allocate",
    "alloc_failed",
    "can't start new thread",  # its stack is memory, too
    "paging file is too small",
    "insufficient memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any engine means that memory ran out: torch on CPU or GPU, llama.cpp, CTranslate2, the OS."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (MemoryError, OutOfMemory)) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, OSError) and seen.errno == errno.ENOMEM:
            return True
        if isinstance(seen, (RuntimeError, OSError)) and says_out_of_memory(str(seen)):
            return True
        seen = seen.__cause__
    return False


def says_out_of_memory(text: str) -> bool:
    """Whether a library's message or its output means that."""
    return any(sign in text.lower() for sign in _SIGNS)
