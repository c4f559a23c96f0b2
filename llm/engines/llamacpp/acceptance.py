"""Whether llama.cpp can run a file, found out before it is loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from llm.catalogue.entry import ModelEntry
from llm.catalogue.gguf import read_header
from llm.engines.probes import ProbeFailed, probe
from llm.errors import UnsupportedModel


def check_gguf(entry: ModelEntry, path: Path) -> None:
    """Refuses a file of an architecture that the installed llama.cpp does not know.

    Raises:
        UnsupportedModel: it doesn't know it.
        CorruptModel: the GGUF header cannot be read.
    """
    path = path if path.is_file() else path / entry.file
    architecture = read_header(path).architecture
    if architecture and not llamacpp_knows(architecture):
        detail = f"this llama.cpp knows no architecture {architecture!r}; a newer Hearth may"
        raise UnsupportedModel(path=str(path), detail=detail)


@lru_cache(maxsize=256)
def llamacpp_knows(architecture: str) -> bool:
    """Whether the llama.cpp that is installed loads models of an architecture, as GGUF names it.

    The binding has no list, so llama.cpp is shown a file with this name and nothing else, in a process of its
    own, and its complaint is read. Where it cannot be asked the answer is yes: loading will tell.
    """
    try:
        return bool(probe("llamacpp_architecture", argument=architecture)["known"])
    except ProbeFailed:
        return True
