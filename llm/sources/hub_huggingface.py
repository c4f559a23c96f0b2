"""The worker's part for Hugging Face and its mirrors. Imported in the download's own process only.

huggingface_hub throws away a half-fetched file when its process ends. So large files are fetched with the
library's own `http_get` into a file that is kept, checked against their sha256, and put where the cache
expects them; `snapshot_download` then finds them there, and does all the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from llm.sources.choice import choose
from llm.sources.hub_report import Reporter, WrongBytes

_CHUNK_BYTES = 256 << 10
"""What has arrived is written and counted in pieces of this size; the library's 10 MB are minutes on a slow line."""


def fetch(request: dict[str, Any], reporter: Reporter) -> Path:
    """
    Returns:
        The snapshot's folder, every chosen file in it and verified.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    repo, revision = request["repo"], request["revision"] or "main"
    common: dict[str, Any] = {"endpoint": request["endpoint"] or None, "token": request["token"] or None}
    api = HfApi(**common)
    commit = api.repo_info(repo, revision=revision).sha
    listed = api.list_repo_tree(repo, recursive=True, revision=commit)
    files = {item.path: item for item in listed if isinstance(item, RepoFile)}
    names = choose(list(files), request["patterns"], request["single_file"])
    if not names:
        raise FileNotFoundError(f"{repo} has none of the files that are wanted")
    store = Path(request["cache"]) / f"models--{repo.replace('/', '--')}"
    hashes = {name: lfs.sha256 for name in names if (lfs := files[name].lfs) is not None}
    small = [name for name in names if name not in hashes]
    blobs = {name: store / "blobs" / sha256 for name, sha256 in hashes.items()}
    there = sum(_size(blob) or _size(_part(blob)) for blob in blobs.values())
    reporter.plan(there, sum(files[name].size for name in names))
    arguments = {"repo_id": repo, "revision": revision, "cache_dir": request["cache"], "max_workers": 4, **common}
    if small:
        folder = Path(snapshot_download(allow_patterns=small, **arguments))
        for name in small:
            _check_small(folder / name, files[name].blob_id, name)
            reporter.add(files[name].size)
    # The weights come last, so that a folder with weights in it is a folder with everything in it.
    for name, blob in blobs.items():
        url = f"{(api.endpoint or '').rstrip('/')}/{repo}/resolve/{commit}/{name}"
        _fetch_large(url, blob, files[name].size, request["token"], name, reporter)
    return Path(snapshot_download(allow_patterns=names, **arguments))


def listing(request: dict[str, Any]) -> tuple[dict[str, int], dict[str, Any] | None]:
    """Sizes of a repository's files by name, and its config.json where it has one."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.hf_api import RepoFile

    common: dict[str, Any] = {"endpoint": request["endpoint"] or None, "token": request["token"] or None}
    revision = request["revision"] or "main"
    listed = HfApi(**common).list_repo_tree(request["repo"], recursive=True, revision=revision)
    sizes = {item.path: item.size for item in listed if isinstance(item, RepoFile)}
    if "config.json" not in sizes:
        return sizes, None
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        path = hf_hub_download(request["repo"], "config.json", revision=revision, local_dir=folder, **common)
        return sizes, json.loads(Path(path).read_text(encoding="utf-8"))


def _fetch_large(url: str, blob: Path, size: int, token: str, name: str, reporter: Reporter) -> None:
    """One file to its place in the cache, going on from what an earlier process left."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if _size(blob) == size:
        return
    part = _part(blob)
    part.parent.mkdir(parents=True, exist_ok=True)
    if _size(part) > size:
        reporter.add(-_size(part))
        part.unlink()
    with part.open("ab") as file:
        done = file.tell()
    with part.open("r+b") as file:
        file.seek(done)
        http_get(
            url,
            file,
            resume_size=done,
            headers=build_hf_headers(token=token or None),
            expected_size=size,
            displayed_filename=name,
            tqdm_class=_counting(reporter),
        )
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != blob.name:
        part.unlink()
        raise WrongBytes(name, digest.hexdigest(), blob.name)
    os.replace(part, blob)


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.hearth.incomplete")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_small(path: Path, git_hash: str, name: str) -> None:
    """Files outside of LFS are named by git's hash of them: sha1 of "blob <length>\\0" and the bytes."""
    content = path.read_bytes()
    actual = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if git_hash and actual != git_hash:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)
        raise WrongBytes(name, actual, git_hash)


def _counting(reporter: Reporter) -> type:
    """A progress bar, as the library understands one, that only counts."""

    class Bar:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            reporter.add(int(count or 0))

        def close(self) -> None:
            pass

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

    return Bar
