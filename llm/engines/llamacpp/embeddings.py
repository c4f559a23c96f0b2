"""Vectors of texts from GGUF weights. The file is mapped as a rule: where an engine maps it too, it is held once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue import gguf
from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.engine import MemoryUse
from llm.engines.llamacpp.server import parameters
from llm.errors import Cancelled, EmptyMessage, MessageTooLong, ModelError
from llm.machine.hardware import hardware
from llm.plan import LoadPlan, LoadProgress

MAX_TOKENS = 2048
_TOGETHER = 16
_BY_FILE = -1
_MEAN = 1  # llama.cpp's enum llama_pooling_type


FEW_CORES = 2
"""With so few, texts are read by one thread: OpenMP lets threads wait less patiently once all its teams together have
more of them than there are cores, and a chat model's answers then take three times as long (docs/benchmarks.md)."""


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Embedder:
    """Weights that only embed.

    Raises:
        CorruptModel: the file is no GGUF. MissingPackage: xllamacpp is not installed. ModelError: llama.cpp refuses it.
    """
    progress("weights", 0, 1)
    embedder = Embedder(path)
    progress("weights", 1, 1)
    return embedder


class Embedder:
    """A llama.cpp server that only embeds. Vectors have length one.

    Pooling is what the file says; weights that were not made for embedding say nothing, and take the mean.
    """

    def __init__(self, path: Path) -> None:
        header = gguf.read_header(path)
        self._weight_bytes = header.tensor_bytes
        self.max_tokens = longest(header)
        pooled = f"{header.architecture}.pooling_type" in header.metadata
        self._server: Any = pooling_server(header, _BY_FILE if pooled else _MEAN)

    def embed(self, inputs: Sequence[str | Sequence[int]], cancel: Cancel) -> tuple[list[list[float]], int]:
        """One vector for each text (or its token ids), and how many tokens were read.

        Raises:
            EmptyMessage: a text has no tokens.
            MessageTooLong: a text has more than `max_tokens`.
            Cancelled: `cancel` was set between two batches.
        """
        vectors: list[list[float]] = []
        tokens = 0
        for start in range(0, len(inputs), _TOGETHER):
            if cancel.is_set():
                raise Cancelled(what="The embedding")
            part = [text if isinstance(text, str) else list(text) for text in inputs[start : start + _TOGETHER]]
            answer: dict[str, Any] = self._server.handle_embeddings({"input": part, "encoding_format": "float"})
            if "error" in answer:
                raise error_of(answer["error"], self.max_tokens)
            vectors += [row["embedding"] for row in sorted(answer["data"], key=lambda row: row["index"])]
            tokens += answer["usage"]["prompt_tokens"]
        return vectors, tokens

    def memory(self) -> MemoryUse:
        """The weights, as they are stored."""
        return MemoryUse({"cpu": self._weight_bytes})

    def close(self) -> None:
        """Frees the server once nobody embeds with it any more."""
        self._server = None


def longest(header: gguf.GgufHeader) -> int:
    """Tokens of the longest text that is read."""
    return min(header.context_tokens or MAX_TOKENS, MAX_TOKENS)


def pooling_server(header: gguf.GgufHeader, pooling: int) -> Any:
    """A llama.cpp server that reads whole texts and pools what comes of them, by llama.cpp's number of the pooling.

    Raises:
        MissingPackage: xllamacpp is not installed. ModelError: llama.cpp refuses the file.
    """
    params, _ = parameters(header.path, header)
    import xllamacpp

    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type(pooling)
    params.n_parallel = 1
    # A text is read in one piece, because a mean needs all of it.
    params.n_ctx = params.n_batch = params.n_ubatch = longest(header)
    params.warmup = False
    if hardware().usable_cores <= FEW_CORES and not config().threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelError(detail=str(error)) from error


def error_of(error: dict[str, Any], max_tokens: int) -> ModelError:
    """What llama.cpp's complaint about a text means."""
    message = str(error.get("message", error))
    if "too large" in message or error.get("type") == "exceed_context_size_error":
        found = [int(word) for word in message.replace("(", " ").split() if word.isdigit()]
        count = found[0] if found else max_tokens + 1
        return MessageTooLong(over_tokens=count - max_tokens, prompt_tokens=count, context_tokens=max_tokens)
    if "empty" in message:
        return EmptyMessage()
    return ModelError(detail=message)
