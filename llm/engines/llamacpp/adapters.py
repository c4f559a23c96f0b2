"""Adapters of a llama.cpp server: all are in memory beside the one copy of the weights, a request says which counts.

Which adapters there are is settled when a server is made. Where another one is wanted, a second server takes the first
one's place for answers that begin from then on; its weights are the same mapped file.

llama.cpp empties a slot's keys and values when its adapters change, but not when the last one goes: the model alone
then went on with an adapter's keys. So the model alone is asked for as an adapter of a strength that changes no sum.
Nor does the store of earlier prompts (`cache_ram`) tell what their keys were reckoned with; beside adapters there is
none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm.catalogue.adapters import GGUF, AdapterNote
from llm.engines.captured_stderr import Overheard
from llm.errors import AdapterRefused
from llm.settings import GenerationSettings

PROBED = 512
"""So many of the likeliest tokens are held against those of training."""
FEWEST_PROBED = 8
NOTHING = 1e-30
"""A strength that leaves every sum as it is."""
PROBE_LIKENESS = 0.9
"""How like the scores must be to those of training, where the weights may have had more bits (correlation)."""


class LoraFiles:
    """The adapters that a server was made with; an adapter's place in the list is its number in requests.

    Args:
        params: `xllamacpp.CommonParams` of the model's server.
        make: `xllamacpp.Server`.
    """

    def __init__(self, params: Any, make: Callable[[Any], Any]) -> None:
        self._params, self._make = params, make
        self._files: list[tuple[Path, int]] = []
        self._refused: dict[tuple[Path, int], AdapterRefused] = {}

    def has(self, folder: Path) -> bool:
        """Whether it can be asked for, as it is on disk.

        Raises:
            AdapterRefused: it was tried before, and did not work.
        """
        file = _file(folder)
        if file in self._refused:
            raise AdapterRefused(**self._refused[file].values)
        return file in self._files

    def server_with(self, folder: Path) -> Any:
        """A server that knows one more adapter.

        Raises:
            AdapterRefused: llama.cpp does not take it, or finds no memory.
        """
        import xllamacpp

        wanted = [*self._files, _file(folder)]
        before = self._params.lora_adapters
        self._params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(f / GGUF), 0.0) for f, _ in wanted]
        self._params.cache_ram_mib = 0
        try:
            with Overheard() as said:
                server = self._make(self._params)
        except (RuntimeError, MemoryError) as error:
            self._params.lora_adapters = before
            reasons = re.findall(r"(?:lora|adapter)[^\n:]*: (.+)", said.text)
            raise refusal(folder, reasons[0] if reasons else str(error) or "llama.cpp cannot load it") from error
        self._files = wanted
        return server

    def refuse(self, folder: Path, error: AdapterRefused) -> None:
        """It was tried, and will not be asked for."""
        self._refused[_file(folder)] = error

    def chosen(self, settings: GenerationSettings) -> list[dict[str, Any]]:
        """What a request says of adapters; those that it does not name do not count."""
        if settings.adapter is None or not settings.strength:
            return [{"id": 0, "scale": NOTHING}] if self._files else []
        return [{"id": self._files.index(_file(settings.adapter)), "scale": settings.strength}]


def check_probe(folder: Path, answer: Callable[[dict[str, Any]], dict[str, Any]], lora: list[dict[str, Any]]) -> None:
    """Whether the model with its adapter finds the same tokens likely as at the end of training.

    Args:
        answer: gives the server's answer to the body of a completion.

    Raises:
        AdapterRefused: it does not.
    """
    note = AdapterNote.read(folder)
    if note is None or not note.probe_ids or not note.probe_logits:
        return
    body = {"prompt": list(note.probe_ids), "n_predict": 1, "n_probs": PROBED, "temperature": 0.0, "lora": lora}
    tokens = (answer(body)["choices"][0].get("logprobs") or {}).get("content") or []
    found = {token["id"]: token["logprob"] for token in tokens[0]["top_logprobs"]} if tokens else {}
    pairs = [(found[i], logit) for i, logit in enumerate(note.probe_logits) if i in found]
    if len(pairs) >= FEWEST_PROBED and _correlation(pairs) < PROBE_LIKENESS:
        detail = "a test question is not answered as at the end of training; the adapter or the model was changed"
        raise refusal(folder, detail)


def refusal(folder: Path, detail: str) -> AdapterRefused:
    return AdapterRefused(adapter=folder.name, model="llama.cpp", detail=detail)


def _correlation(pairs: list[tuple[float, float]]) -> float:
    import numpy

    return float(numpy.corrcoef(numpy.array(pairs).T)[0, 1])


def _file(folder: Path) -> tuple[Path, int]:
    file = folder / GGUF
    if not file.is_file():
        raise refusal(folder, f"it has no {GGUF}")
    return folder, file.stat().st_mtime_ns
