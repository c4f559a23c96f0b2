"""Memory that Python and the C library keep after its use, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects garbage, and has glibc return what is free in its heaps; elsewhere the system's library does by itself.

    Converting and quantising weights frees as much as it allocates, and glibc keeps most of it for later: a model
    that was rounded to 8 bits would hold its 32 bits' worth of memory until the process ends.
    """
    gc.collect()
    trim()


def trim() -> None:
    """The same without looking for garbage, which takes a tenth of a second."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
