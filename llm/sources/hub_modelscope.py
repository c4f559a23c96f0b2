"""The worker's part for ModelScope. Imported in the download's own process only.

The client library of `modelscope` is its part `modelscope_hub`, which is used directly: importing the whole of
`modelscope` takes seconds and indexes its own sources first. It resumes half-fetched files (`*.incomplete`) and
checks each against the sha256 that the hub lists.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from llm.sources.choice import choose
from llm.sources.hub_report import Reporter

_SMALL_BYTES = 32 << 20


def fetch(request: dict[str, Any], reporter: Reporter) -> Path:
    """
    Returns:
        The snapshot's folder, every chosen file in it and verified.
    """
    repo, revision = request["repo"], request["revision"] or "master"
    api = _api(request)
    listed = api.list_repo_files(repo, "model", revision=revision)
    sizes = {file.path: file.size or 0 for file in listed}
    names = choose([file.path for file in listed], request["patterns"], request["single_file"])
    if not names:
        raise FileNotFoundError(f"{repo} has none of the files that are wanted")
    folder = Path(request["cache"]) / "models" / repo.replace("/", "--") / "snapshots" / revision
    there = sum(sizes[name] for name in names if _is_there(folder / name, sizes[name]))
    reporter.plan(there, sum(sizes[name] for name in names))

    def take(chosen: list[str]) -> Path:
        return Path(
            api.download_repo(
                repo,
                "model",
                revision=revision,
                cache_dir=Path(request["cache"]),
                allow_patterns=chosen,
                progress_callbacks=[_counting(reporter)],
            )
        )

    # The weights come last, so that a folder with weights in it is a folder with everything in it.
    small = [name for name in names if sizes[name] < _SMALL_BYTES and not name.endswith((".safetensors", ".bin"))]
    if small:
        take(small)
    return take(names)


def listing(request: dict[str, Any]) -> tuple[dict[str, int], dict[str, Any] | None]:
    """Sizes of a repository's files by name, and its config.json where it has one."""
    repo, revision, api = request["repo"], request["revision"] or "master", _api(request)
    sizes = {file.path: file.size or 0 for file in api.list_repo_files(repo, "model", revision=revision)}
    if "config.json" not in sizes:
        return sizes, None
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        path = api.download_file(repo, "model", "config.json", revision=revision, local_dir=folder)
        return sizes, json.loads(Path(path).read_text(encoding="utf-8"))


def _api(request: dict[str, Any]) -> Any:
    """The client, at the endpoint that is set or else at the one of the hub's two sites that has the repository."""
    from modelscope_hub import HubApi

    token, endpoint = request["token"] or None, request["endpoint"] or None
    if endpoint is None:
        endpoint = HubApi(token=token).resolve_endpoint_for_read(request["repo"])
    return HubApi(token=token, endpoint=endpoint)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _counting(reporter: Reporter) -> type:
    """The library makes one of these for each file; it tells of negative counts when a file starts over."""

    class Count:
        def __init__(self, filename: str, file_size: int) -> None:
            pass

        def update(self, size: int) -> None:
            reporter.add(size)

        def end(self) -> None:
            pass

    return Count
