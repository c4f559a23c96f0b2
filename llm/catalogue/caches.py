"""Where the hubs' own libraries keep what they fetched, so that nothing is fetched twice.

Layouts: https://huggingface.co/docs/huggingface_hub/guides/manage-cache and, for ModelScope, its
`modelscope_hub` (snapshots as above) and older `modelscope` releases (one plain folder a model, dots in its
name written as `___`). Read from the file system alone, so that asking costs no import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from llm.catalogue.entry import Source


def huggingface_cache() -> Path:
    """Folder of huggingface_hub's model cache."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    base = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(base).expanduser() / "hub"


def modelscope_cache() -> Path:
    """Base folder of modelscope's cache."""
    return Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()


def folders(source: Source) -> Iterator[Path]:
    """Each folder in which a hub's library would keep the source's files, if it exists, best first."""
    if "/" not in source.repo:
        return
    if source.kind == "huggingface":
        yield from _snapshots(huggingface_cache() / f"models--{source.repo.replace('/', '--')}", source.revision)
    elif source.kind == "modelscope":
        base, (owner, name) = modelscope_cache(), source.repo.split("/", 1)
        yield from _snapshots(base / "models" / f"{owner}--{name}", source.revision)
        for parent in (base / "hub" / "models", base / "models", base / "hub"):
            for folder in (parent / owner / name.replace(".", "___"), parent / owner / name):
                if folder.is_dir():
                    yield folder


def _snapshots(repo: Path, revision: str) -> Iterator[Path]:
    """The wanted revision's snapshot first, then the others, newest first."""
    snapshots = repo / "snapshots"
    if not snapshots.is_dir():
        return
    reference = repo / "refs" / (revision or "main")
    named = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    found = [folder for folder in snapshots.iterdir() if folder.is_dir()]
    found.sort(key=lambda folder: (folder.name == named, folder.stat().st_mtime), reverse=True)
    yield from found
