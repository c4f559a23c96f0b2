"""The models on this machine: where each lies and how large it is, when it was used, whether it is whole.

What Hearth fetched itself and what lies in the hubs' caches can be deleted; a folder or file that the user
named is only taken off the list.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from llm.catalogue import caches, gguf, lookup
from llm.catalogue.entry import ModelEntry
from llm.catalogue.weights import tensor_places, weight_files
from llm.config import config
from llm.errors import Cancelled, CorruptModel, UnsupportedModel

Owner: TypeAlias = Literal["hearth", "huggingface", "modelscope", "user"]
_ENDS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """One copy of a model. `root` is what deleting removes; `size_bytes` its size, which deleting frees."""

    path: Path
    root: Path
    owner: Owner
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A model that is here. `last_used` in seconds since 1970; 0: never, as far as is known."""

    entry: ModelEntry
    places: tuple[Place, ...]
    last_used: float

    @property
    def size_bytes(self) -> int:
        return sum(place.size_bytes for place in self.places)


@dataclass(frozen=True, slots=True)
class Check:
    """What verifying found. `by_hash` files match their sha256; `by_structure` only have the length that they say."""

    by_hash: int
    by_structure: int
    problems: tuple[str, ...]


def holdings() -> list[Holding]:
    """The models on this machine, the largest first."""
    found = [Holding(e, places, last_used(e.id)) for e in lookup.entries() if (places := places_of(e))]
    return sorted(found, key=lambda holding: holding.size_bytes, reverse=True)


def places_of(entry: ModelEntry) -> tuple[Place, ...]:
    """Each complete copy of a model on this machine, the one that is used first."""
    return tuple(_place(path) for path in lookup.places(entry))


def delete(place: Place) -> int:
    """Removes a copy and returns the bytes that this freed. A user's own files stay: 0."""
    if place.owner == "user":
        return 0
    freed = lookup.size_on_disk(place.root)
    if place.root.is_dir() and not place.root.is_symlink():
        shutil.rmtree(place.root)
    else:
        place.root.unlink()
    return freed


def verify(
    entry: ModelEntry, place: Place, progress: Callable[[int, int], None], stop: threading.Event | None = None
) -> Check:
    """Reads every weight file: against the sha256 that the catalogue or the hub's cache knows, else its own header.

    Raises:
        Cancelled: `stop` was set.
    """
    known = {name: sha256 for source in entry.sources for name, sha256 in source.sha256.items()}
    files = _weights(place.path)
    total, done = sum(path.stat().st_size for path in files), 0
    by_hash, by_structure, problems = 0, 0, []
    for path in files:
        expected = known.get(path.name) if place.owner in ("hearth", "user") else _hash_in_cache(path)
        if expected:
            actual = _sha256(path, lambda seen, before=done: progress(before + seen, total), stop)  # type: ignore[misc]
            if actual == expected:
                by_hash += 1
            else:
                problems.append(f"{path.name}: sha256 {actual}, {expected} expected")
        else:
            problem = _structure(path)
            problems += [problem] if problem else []
            by_structure += not problem
        done += path.stat().st_size
        progress(done, total)
    return Check(by_hash, by_structure, tuple(problems))


def duplicates(found: Iterable[Holding]) -> list[tuple[tuple[ModelEntry, Place], ...]]:
    """Copies of the same weights, in whatever folders and under whatever names: groups of two or more."""
    groups: dict[tuple[int, str], list[tuple[ModelEntry, Place]]] = {}
    for holding in found:
        for place in holding.places:
            files = _weights(place.path)
            if files:
                key = (sum(path.stat().st_size for path in files), _ends(max(files, key=lambda p: p.stat().st_size)))
                groups.setdefault(key, []).append((holding.entry, place))
    distinct = ({place.path.resolve(): (entry, place) for entry, place in group} for group in groups.values())
    return [tuple(copies.values()) for copies in distinct if len(copies) > 1]


def mark_used(model_id: str) -> None:
    """Remembers that a model was used now. A disk that is full or read-only must not spoil an answer."""
    name = _used_file(model_id)
    with contextlib.suppress(OSError):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()


def last_used(model_id: str) -> float:
    name = _used_file(model_id)
    return name.stat().st_mtime if name.is_file() else 0.0


def _used_file(model_id: str) -> Path:
    """An empty file whose time is the answer; the id of a model that was named by path makes no file name."""
    plain = re.fullmatch(r"[A-Za-z0-9][\w.-]*", model_id)
    name = model_id if plain else hashlib.sha256(model_id.encode()).hexdigest()[:32]
    return config().models_dir / ".used" / name


def _place(path: Path) -> Place:
    own = config().models_dir
    if path.is_relative_to(own):
        root = own / path.relative_to(own).parts[0]
        return Place(path, root, "hearth", lookup.size_on_disk(root))
    caches_by_owner: tuple[tuple[Owner, Path], ...] = (
        ("huggingface", caches.huggingface_cache()),
        ("modelscope", caches.modelscope_cache()),
    )
    for owner, cache in caches_by_owner:
        if path.is_relative_to(cache):
            root = _repository(path, cache)
            return Place(path, root, owner, lookup.size_on_disk(root))
    return Place(path, path, "user", lookup.size_on_disk(path))


def _repository(path: Path, cache: Path) -> Path:
    """The folder of one repository in a hub's cache: above `snapshots`, or of the older plain layout itself."""
    for parent in path.parents:
        if parent.name == "snapshots" and parent != cache:
            return parent.parent
    return path if path.is_dir() else path.parent


def _weights(path: Path) -> list[Path]:
    if path.is_file():
        return gguf.shards(path) if path.suffix == ".gguf" else [path]
    if (path / "model.bin").is_file():
        return [path / "model.bin"]
    try:
        return weight_files(path)
    except (CorruptModel, UnsupportedModel):
        return []


def _hash_in_cache(path: Path) -> str:
    """Hugging Face's cache names a large file's blob by its sha256."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else ""


def _structure(path: Path) -> str:
    """What is wrong with a file as far as it tells itself; empty when nothing is."""
    try:
        if path.suffix == ".gguf":
            gguf.file_header(path)
        elif path.suffix == ".safetensors":
            tensor_places(path)
        return "" if path.stat().st_size else f"{path.name}: it is empty"
    except (CorruptModel, UnsupportedModel) as error:
        return str(error)


def _sha256(path: Path, seen: Callable[[int], None], stop: threading.Event | None) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(4 << 20):
            if stop is not None and stop.is_set():
                raise Cancelled(what=path.name)
            digest.update(block)
            done += len(block)
            seen(done)
    return digest.hexdigest()


def _ends(path: Path) -> str:
    """A hash of a file's first and last megabyte: with the length, enough to tell weights apart."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_ENDS_BYTES))
        file.seek(max(0, path.stat().st_size - _ENDS_BYTES))
        digest.update(file.read(_ENDS_BYTES))
    return digest.hexdigest()
