"""The catalogue: which models are known, which of them are on this machine, and where."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from pathlib import Path

from llm.catalogue import adapters, caches, checkpoint, gguf
from llm.catalogue.entry import Ability, ModelEntry, Task
from llm.catalogue.toml_file import read_entries, readable_entries, write_entries
from llm.catalogue.weights import weight_files
from llm.config import config
from llm.errors import CorruptModel, UnknownModel, UnsupportedModel

log = logging.getLogger(__name__)

READER = "reader:"
"""What stands before a chat model's id to have it answer over the text of pictures."""

_SHOWN_CHARACTERS = 200
_SHIPPED = Path(__file__).with_name("models.toml")


def entries() -> list[ModelEntry]:
    """Every known model: the user's own first, then the catalogue that comes along. Cheap to call often.

    What cannot be read in the user's `models.toml` is left out, with a warning in the log.
    """
    own = own_entries()
    taken = {entry.id for entry in own}
    return own + [entry for entry in _read(_SHIPPED, _stamp(_SHIPPED), False) if entry.id not in taken]


def own_entries() -> list[ModelEntry]:
    """The models that the user added, from `models.toml` in the data folder."""
    path = config().home / "models.toml"
    return list(_read(path, _stamp(path), True))


def entries_for(*tasks: Task) -> list[ModelEntry]:
    """The known models of these tasks, in the order of `entries`, and then those with adapters."""
    return [entry for entry in [*entries(), *adapted()] if entry.task in tasks]


def adapted() -> list[ModelEntry]:
    """Models with each of the adapters that were made for them and are kept. Cheap to call often."""
    by_base = {adapter.note.base for adapter in adapters.adapters()}
    if not by_base:
        return []
    known = [entry for entry in entries() if entry.id in by_base or str(entry.path) in by_base]
    paths = sorted(by_base - {entry.id for entry in known} - {str(entry.path) for entry in known})
    for path in paths:  # a model that was named by path, and is in no list
        if found := _on_disk(path):
            with contextlib.suppress(CorruptModel, UnsupportedModel):
                known.append(entry_of_path(found))
    return [with_adapter(entry, adapter) for entry in known for adapter in adapters.of_model(entry.id, entry.path)]


def with_adapter(base: ModelEntry, adapter: adapters.Adapter) -> ModelEntry:
    """A model as it answers with an adapter."""
    name = f"{base.name} · {adapter.name}"
    return replace(base, id=f"{base.id}{adapters.SIGN}{adapter.name}", name=name, adapter=adapter.folder)


def starter_id(task: Task, language: str = "en") -> str:
    """The id of the model that is fetched on first use for a task; empty where there is none.

    Args:
        language: the visitor's; the smallest starter speaks English only.
    """
    if task == "text-generation" and language.startswith("zh") and config().starter_chat_zh:
        return config().starter_chat_zh
    starters = {"text-generation": config().starter_chat, "automatic-speech-recognition": config().starter_speech}
    return starters.get(task, "")


def find(model: str | Path) -> ModelEntry:
    """The entry of a catalogue id, or of a local model folder or .gguf file (also not in the catalogue).

    Raises:
        UnknownModel: neither an id nor anything on this disk.
        CorruptModel: the files there are damaged or incomplete.
        UnsupportedModel: they are a model that no engine here runs.
    """
    name = str(model)
    if name.startswith(READER):
        return reader_entry(find(name.removeprefix(READER)))
    for entry in entries():
        if entry.id == name:
            return entry
    path = _on_disk(name)
    if path is not None:
        return entry_of_path(path)
    base, sign, adapter = name.rpartition(adapters.SIGN)
    if sign and any(known.name == adapter for known in adapters.adapters()):
        return with_adapter(find(base), adapters.get_adapter(adapter))
    raise UnknownModel(model=name[:_SHOWN_CHARACTERS], known=near(name[:_SHOWN_CHARACTERS]))


def _on_disk(name: str) -> Path | None:
    """The file or folder that a name is a path of; devices, pipes and sockets are none, and never opened."""
    try:
        path = Path(name).expanduser()
        found = bool(name.strip()) and (path.is_file() or path.is_dir())
        return path.resolve() if found else None
    except (OSError, RuntimeError, ValueError):  # too long, another person's home, a null byte
        return None


def near(name: str) -> str:
    """The known ids that a mistyped one may mean; those on this machine when none is like it."""
    known = [entry.id for entry in [*entries(), *adapted()]]
    return ", ".join(get_close_matches(name, known, 5) or [entry.id for entry in installed()] or known[:3])


def reader_entry(chat: ModelEntry) -> ModelEntry:
    """The reader that answers with a chat model: `reader:<id or path>`. It is here when the chat model is."""
    return replace(
        chat,
        id=f"{READER}{chat.path or chat.id}",
        task="image-text-to-text",
        engine="reader",
        abilities=chat.abilities | {"image"},
        path=where(chat),
        sources=(),
    )


def entry_of_path(path: Path) -> ModelEntry:
    """An entry read from the files themselves: a model folder, a .gguf file, or a folder holding one.

    Raises:
        CorruptModel, UnsupportedModel: as `find`.
    """
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise UnsupportedModel(path=str(path), detail="a single file must be a .gguf")
        return _entry_of_gguf(gguf.shards(path)[0])
    if not (path / "config.json").is_file():
        found = first_gguf(path)
        if found:
            return _entry_of_gguf(found)
    return checkpoint.entry_of_folder(path)


def first_gguf(folder: Path) -> Path | None:
    """The .gguf in a folder to name to the engine: the first shard of a split one; None when there is none."""
    found = sorted(f for f in folder.glob("*.gguf") if "mmproj" not in f.name.lower())
    return gguf.shards(found[0])[0] if found else None


def mmproj_of(entry: ModelEntry, path: Path) -> Path | None:
    """The vision tower that belongs to a .gguf file; None when it has none.

    Raises:
        CorruptModel: the one that the entry names is not there.
    """
    if entry.mmproj:
        named = path.parent / entry.mmproj
        if not named.is_file():
            raise CorruptModel(path=str(named), detail="the file with its vision tower is missing")
        return named
    return mmproj_beside(path)


def with_mmproj(entry: ModelEntry, file: Path) -> ModelEntry:
    """The entry of a .gguf on this disk, seeing with the vision tower that somebody chose for it.

    Raises:
        CorruptModel: there is no such file, or it is damaged.
        UnsupportedModel: it is no vision tower, or one of a model of another width.
    """
    header = gguf.read_header(file)
    if header.architecture != "clip" or entry.path is None:
        raise UnsupportedModel(path=str(file), detail="it is not a vision tower (mmproj)")
    if header.picture_width not in (0, entry.shape.hidden):
        detail = f"its pictures are {header.picture_width} wide, and {entry.name} reads {entry.shape.hidden}"
        raise UnsupportedModel(path=str(file), detail=detail)
    size = gguf.read_header(entry.path).size_bytes + header.size_bytes
    abilities: frozenset[Ability] = frozenset({*entry.abilities, "image"})
    return replace(entry, task="image-text-to-text", abilities=abilities, size_bytes=size, mmproj=str(file.resolve()))


def mmproj_beside(path: Path) -> Path | None:
    """The mmproj file in a .gguf's folder that fits it: of the same width, and of those the most alike by name."""
    width = gguf.read_header(path).shape.hidden
    fitting = []
    for file in sorted(path.parent.glob("*.gguf")):
        if "mmproj" in file.name.lower() and file != path:
            try:
                header = gguf.read_header(file)
            except (CorruptModel, UnsupportedModel):
                continue  # another model's damaged file must not keep this one from answering
            if header.architecture == "clip" and header.picture_width in (0, width):
                fitting.append(file)
    likeness = {file: SequenceMatcher(None, file.stem.lower(), path.stem.lower()).ratio() for file in fitting}
    return max(fitting, key=likeness.__getitem__, default=None)


def where(entry: ModelEntry) -> Path | None:
    """Where a model's files lie complete: the .gguf for a single-file model, else the folder; None if nowhere.

    A model of another server has no files; its address stands for them.
    """
    if entry.is_remote:
        return Path(f"{entry.base_url}/{entry.remote_id}")
    return next(places(entry), None)


def places(entry: ModelEntry) -> Iterator[Path]:
    """Every place on this machine that holds the model complete, the one to be used first."""
    candidates = [entry.path] if entry.path else [config().models_dir / entry.base_id]
    for source in entry.sources:
        candidates.extend(caches.folders(source))
    seen: set[Path] = set()
    for candidate in candidates:
        found = complete(entry, candidate)
        if found and found.resolve() not in seen:
            seen.add(found.resolve())
            yield found


def complete(entry: ModelEntry, place: Path) -> Path | None:
    """The path to load from when `place` holds all the files that the model needs, else None."""
    if place.is_file():
        return _whole(place)
    if not place.is_dir():
        return None
    if entry.file:
        whole = all((place / name).is_file() for name in (entry.file, entry.mmproj) if name)
        return _whole(place / entry.file) if whole else None
    wanted = {name for source in entry.sources if source.kind == "package_index" for name in source.members}
    if wanted and place == config().models_dir / entry.base_id:
        return place if all((place / name).is_file() for name in wanted) else None
    try:
        if not (place / "model.bin").is_file():  # the one file of CTranslate2's layout
            weight_files(place)
    except (CorruptModel, UnsupportedModel):
        return None
    return place if (place / "config.json").is_file() else None


def _whole(file: Path) -> Path | None:
    """The file to load from, of a split model the first; None when one of several is missing."""
    try:
        return gguf.shards(file)[0] if file.suffix.lower() == ".gguf" else file
    except CorruptModel:
        return None


def installed() -> list[ModelEntry]:
    """The entries whose files are on this machine, and those with adapters."""
    return [entry for entry in [*entries(), *adapted()] if where(entry)]


def add(entry: ModelEntry) -> None:
    """Keeps a model of the user's own; one of the same id is replaced."""
    kept = [known for known in own_entries() if known.id != entry.id]
    _write([*kept, entry])


def forget(model_id: str) -> bool:
    """Takes one of the user's own models off the list (its files stay). Whether it was there."""
    before = own_entries()
    kept = [entry for entry in before if entry.id != model_id]
    if len(kept) < len(before):
        _write(kept)
    return len(kept) < len(before)


def _write(own: Sequence[ModelEntry]) -> None:
    path = config().home / "models.toml"
    if readable_entries(path)[1]:  # what cannot be read is not to be lost by writing the rest
        shutil.copy(path, path.with_suffix(".toml.unreadable"))
    write_entries(path, own)
    _read.cache_clear()  # two changes within a file system's tick have the same time


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=16)
def _read(path: Path, _stamp: int, own: bool) -> Sequence[ModelEntry]:
    if not own:
        return tuple(read_entries(path))
    found, problems = readable_entries(path)
    for problem in problems:  # once for each change of the file
        log.warning("One of your models is left out: %s", problem)
    return tuple(found)


# llama.cpp's names of architectures -> the model line. Others are their own line's name.
_LINES = {"chatglm": "glm4", "starcoder": "starchat", "baichuan": "baichuan"}
# Architectures in GGUF that nothing here runs by themselves, and encoders, which make vectors of texts.
_UNRUN = {"clip", "whisper"}
_ENCODERS = re.compile(r"bert|t5encoder|-embedding$")


def _entry_of_gguf(path: Path) -> ModelEntry:
    header = gguf.read_header(path)
    architecture = header.architecture
    if not architecture or architecture in _UNRUN:
        raise UnsupportedModel(path=str(path), detail=f"its architecture is {architecture or 'not named'}")
    if not header.tensors:
        raise CorruptModel(path=str(path), detail="it holds no weights")
    if header.ranks or header.pools or _ENCODERS.search(architecture):
        return _encoder_of_gguf(path, header)
    eyes = mmproj_beside(path)
    return ModelEntry(
        id=str(path),
        name=path.stem,
        task="image-text-to-text" if eyes else "text-generation",
        family=_line_of_gguf(f"{path.stem} {header.name}".lower(), architecture),
        engine="llamacpp",
        parameters=header.parameters,
        size_bytes=header.size_bytes + (eyes.stat().st_size if eyes else 0),
        context_tokens=header.context_tokens,
        abilities=frozenset(("text", "image") if eyes else ("text",)),
        mmproj=eyes.name if eyes else "",
        licence=str(header.metadata.get("general.license", "")),
        languages=_languages(header),
        file=path.name,
        path=path,
        shape=header.shape,
        quantisation=header.file_type,
        own=True,
    )


def _encoder_of_gguf(path: Path, header: gguf.GgufHeader) -> ModelEntry:
    """An embedder or a reranker: which, its pooling tells."""
    ranks = header.ranks
    return ModelEntry(
        id=str(path),
        name=path.stem,
        task="text-ranking" if ranks else "feature-extraction",
        family=header.architecture,
        engine="llamacpp",
        parameters=header.parameters,
        size_bytes=header.size_bytes,
        context_tokens=header.context_tokens,
        abilities=frozenset({"text"} if ranks else {"embeddings"}),
        licence=str(header.metadata.get("general.license", "")),
        languages=_languages(header),
        file=path.name,
        path=path,
        shape=header.shape,
        quantisation=header.file_type,
        own=True,
    )


def _line_of_gguf(names: str, architecture: str) -> str:
    for line in ("smollm", "deepseek"):
        if line in names:
            return line
    if re.match(r"qwen\d+vl", architecture):
        return "qwen2-vl"
    for line in ("qwen", "gemma", "llama", "mistral", "phi", "glm", "granite"):
        if architecture.startswith(line):
            return line
    return _LINES.get(architecture, architecture)


def _languages(header: gguf.GgufHeader) -> tuple[str, ...]:
    value = header.metadata.get("general.languages", ())
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()


def size_on_disk(place: Path) -> int:
    """Bytes that deleting a place would free: what is linked to counts once, and not at all where it lies elsewhere."""
    if place.is_symlink():
        return 0
    if place.is_file():
        return sum(part.stat().st_size for part in (gguf.shards(place) if place.suffix == ".gguf" else [place]))
    inside = place.resolve()
    seen: dict[tuple[int, int], int] = {}
    for root, _, names in os.walk(place):
        for name in names:
            path = Path(root, name)
            if path.is_file() and path.resolve().is_relative_to(inside):
                status = path.stat()
                seen[(status.st_dev, status.st_ino)] = status.st_size
    return sum(seen.values())
