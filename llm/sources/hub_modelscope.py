"""The worker's part for ModelScope. Imported in the download's own process only.

The client library of `modelscope` is its part `modelscope_hub`, which is used directly: importing the whole of
`modelscope` takes seconds and indexes its own sources first. It resumes half-fetched files (`*.incomplete`) and
checks each against the sha256 that the hub lists.
"""

from __future__ import annotations

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
    from modelscope_hub import HubApi

    repo, revision = request["repo"], request["revision"] or "master"
    token, endpoint = request["token"] or None, request["endpoint"] or None
    if endpoint is None:
        endpoint = HubApi(token=token).resolve_endpoint_for_read(repo)
    api = HubApi(token=token, endpoint=endpoint)
    listed = api.list_repo_files(repo, "model", revision=revision)
    sizes = {file.path: file.size or 0 for file in listed}
    names = choose([file.path for file in listed], request["patterns"], request["single_file"])
    if not names:
        raise FileNotFoundError(f"{repo} has none of the files that are wanted")
    folder = Path(request["cache"]) / "models" / repo.replace("/", "--") / "snapshots" / revision
    there = sum(sizes[name] for name in names if _is_there(folder / name, sizes[name]))
    reporter.plan(there, sum(sizes[name] for name in names))

    def take(chosen: list[str]) -> Path:
        return api.download_repo(
            repo,
            "model",
            revision=revision,
            cache_dir=Path(request["cache"]),
            allow_patterns=chosen,
            progress_callbacks=[_counting(reporter)],
        )

    # The weights come last, so that a folder with weights in it is a folder with everything in it.
    small = [name for name in names if sizes[name] < _SMALL_BYTES and not name.endswith((".safetensors", ".bin"))]
    if small:
        take(small)
    return take(names)


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
