"""A llama.cpp server in this process, as every use of GGUF weights here begins one."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from llm.catalogue.footprint import held_twice
from llm.catalogue.gguf import GgufHeader
from llm.config import config
from llm.errors import MissingPackage
from llm.machine.hardware import instruction_sets


def parameters(path: Path, header: GgufHeader, *, device: str = "cpu") -> tuple[Any, str]:
    """`xllamacpp.CommonParams` for a file, and the key that its loopback port asks for.

    Raises:
        MissingPackage: xllamacpp is not installed.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingPackage(package="xllamacpp") from error
    key = secrets.token_urlsafe(32)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.fit_params = False
    if device != "cuda" and sys.platform != "darwin" and held_twice(header.tensors, instruction_sets()):
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE  # reads the file instead of mapping it
    params.verbosity = 1  # errors; what else it says is for its own developers
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    if threads := config().threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    return params, key
