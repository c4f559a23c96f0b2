"""Looks at a hub's repository before anything large is fetched: its files, their sizes, its config.json."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm.catalogue.checkpoint import entry_of_config
from llm.catalogue.entry import ModelEntry, Source, SourceKind, task_by_name
from llm.errors import DownloadFailed, UnsupportedModel
from llm.sources import child, hub
from llm.sources.choice import choose

_PREFERRED = ("q4_k_m", "q4_k_s", "q5_k_m", "q8_0", "q4_0")


def entry_of_hub(kind: SourceKind, repo: str, file: str = "", stop: threading.Event | None = None) -> ModelEntry:
    """An entry for a repository that the catalogue doesn't have.

    Args:
        file: which .gguf of a repository of several; empty takes a 4-bit one.

    Raises:
        UnsupportedModel: no engine runs it.
        NoNetwork, AccessDenied, DownloadFailed, MissingPackage: the hub could not be asked.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise DownloadFailed(name=repo, source=hub.NAMES[kind], detail="a hub id has the form owner/name")
    sizes, config = _ask(kind, repo, stop)
    source = Source(kind, repo=repo)
    model_id = f"{repo.split('/')[1]}".lower()
    ggufs = [name for name in sizes if name.lower().endswith(".gguf") and "mmproj" not in name.lower()]
    if ggufs and not any(name.endswith(".safetensors") for name in sizes):
        name = _gguf_of(ggufs, file)
        eyes = _mmproj_of(sizes)
        task = "image-text-to-text" if eyes else task_by_name(repo)
        entry = ModelEntry(
            id=f"{model_id}-{Path(name).stem.lower()}"[:120],
            name=Path(name).stem,
            task=task,
            family=_line_of(name),
            engine="llamacpp",
            size_bytes=sizes[name] + sizes.get(eyes, 0),
            abilities=frozenset(("text", "image") if eyes else ("text",)),
            sources=(replace(source, files=(name, eyes)) if eyes else source,),
            file=Path(name).name,
            mmproj=Path(eyes).name,
            own=True,
        )
        return entry
    if config is None:
        raise UnsupportedModel(path=repo, detail="it has neither a config.json nor a .gguf file")
    entry = entry_of_config(config, repo.split("/")[1])
    names = choose(list(sizes))
    weights = [name for name in names if name.endswith((".safetensors", ".bin", ".pt"))]
    if not weights:
        raise UnsupportedModel(path=repo, detail="it has no weights that can be read")
    size_bytes = sum(sizes[name] for name in weights)
    return replace(entry, id=model_id, sources=(source,), size_bytes=size_bytes, parameters=size_bytes // 2)


def _gguf_of(names: list[str], wanted: str) -> str:
    if wanted:
        return next((name for name in names if Path(name).name == wanted), names[0])
    whole = [name for name in names if "-of-" not in name] or names
    for preferred in _PREFERRED:
        for name in whole:
            if preferred in name.lower():
                return name
    return whole[0]


def _mmproj_of(names: Iterable[str]) -> str:
    """The vision tower among a repository's files, in 16 bits where there are several; empty where there is none."""
    found = [name for name in names if name.lower().endswith(".gguf") and "mmproj" in name.lower()]
    return next((name for name in found if re.search(r"(?<!b)f16", name.lower())), found[0] if found else "")


def _line_of(name: str) -> str:
    if re.search(r"qwen\d(\.\d)?-?vl", name.lower()):
        return "qwen2-vl"
    lines = ("smollm", "deepseek", "qwen", "gemma", "llama", "mistral", "phi", "glm")
    return next((line for line in lines if line in name.lower()), "template")


def _ask(kind: SourceKind, repo: str, stop: threading.Event | None) -> tuple[dict[str, int], dict[str, Any] | None]:
    """The repository's files and sizes, and its config.json; asked by the hub's library in its own process."""
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        source = Source(kind, repo=repo)
        request = {**hub.request_of(source), "only": "list", "events": os.path.join(folder, "events.jsonl")}
        child.run(
            ["-m", "llm.sources.hub_worker"],
            repo,
            hub.environment(),
            stop,
            lambda: None,
            json.dumps(request),
        )
        events = Path(request["events"])
        for line in events.read_text(encoding="utf-8").splitlines() if events.is_file() else ():
            event = json.loads(line)
            if event["event"] == "listed":
                return event["sizes"], event["config"]
            if event["event"] == "error":
                raise hub.error_of(event, source, 0)
        raise DownloadFailed(name=repo, source=hub.NAMES[kind], detail="the hub gave no answer")
