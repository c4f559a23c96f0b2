"""Adapters that are kept: what was learnt beside a model's weights, to be used with them and never without.

An adapter is a folder `<home>/adapters/<name>` in peft's layout with a note of what it was made for; llama.cpp's models
have theirs beside it as `adapter.gguf`. It is named `<model>@<name>`, and answers from the model's own loaded weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm.catalogue.weights import weight_files
from llm.config import config
from llm.errors import AdapterRefused, CorruptModel, NotFound
from llm.files import write_whole

SIGN = "@"
"""What stands between a model's id and its adapter's name."""
WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"
PREFIX = "prefix.safetensors"
GGUF = "adapter.gguf"
_END_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AdapterNote:
    """What an adapter is for, kept beside it (`hearth.json`).

    base: the model's catalogue id or path; base_fingerprint: of its weight files, see `fingerprint`.
    probe_ids, probe_logits: token ids, and the logits after the last of them over the first `len(probe_logits)` ids of
    the vocabulary as they were in training: whoever loads the adapter sees at once whether it works as it did.
    precision: what the base was trained in; but for float32 the same weights may answer a little otherwise elsewhere.
    """

    base: str
    base_fingerprint: str
    method: str
    name: str = ""
    run: str = ""
    step: int = 0
    probe_ids: tuple[int, ...] = ()
    probe_logits: tuple[float, ...] = ()
    precision: str = "float32"

    def write(self, folder: Path) -> None:
        write_whole(folder / "hearth.json", json.dumps(asdict(self), ensure_ascii=False))

    @classmethod
    def read(cls, folder: Path) -> AdapterNote | None:
        """The note in a folder; None where there is none that can be read."""
        try:
            return cls.from_dict(json.loads((folder / "hearth.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdapterNote:
        """Raises: TypeError."""
        known = {f.name for f in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        for name in ("probe_ids", "probe_logits"):
            kept[name] = tuple(kept.get(name, ()))
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Adapter:
    """One that is kept."""

    name: str
    folder: Path
    note: AdapterNote


def adapters() -> list[Adapter]:
    """All that are kept, by name. Cheap to call often."""
    return [adapter for folder in sorted(_folder().glob("*")) if (adapter := _adapter(folder))]


def get_adapter(name: str) -> Adapter:
    """
    Raises:
        NotFound: there is none of that name.
    """
    found = _adapter(_folder() / name) if is_name(name) else None
    if found is None:
        raise NotFound(what="adapter", id=name)
    return found


def is_name(name: str) -> bool:
    """Whether an adapter may be called so: letters of any script, digits, `-`, `_` and `.` inside."""
    return bool(re.fullmatch(r"\w[\w.-]{0,63}", name))


def keep_adapter(name: str, source: Path, note: AdapterNote, extra: Mapping[str, bytes] | None = None) -> Adapter:
    """Keeps a copy of an adapter's files under a name; an earlier one of that name is replaced.

    Args:
        source: a folder that holds it.
        extra: further files, by name.

    Raises:
        AdapterRefused: the name cannot be one, or the folder holds no adapter.
        OSError: the disk is full or cannot be written.
    """
    files = [source / file for file in (WEIGHTS, SETTINGS, PREFIX) if (source / file).is_file()]
    if not is_name(name):
        raise AdapterRefused(adapter=name, model=note.base, detail="names have letters, digits, - and _ only")
    if not any(file.name in (WEIGHTS, PREFIX) for file in files):
        raise AdapterRefused(adapter=name, model=note.base, detail=f"{source.name} holds no adapter")
    making = _folder() / f".{name}.new"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, making / file.name)
    for file_name, content in (extra or {}).items():
        write_whole(making / file_name, content)
    note.write(making)
    shutil.rmtree(_folder() / name, ignore_errors=True)
    making.rename(_folder() / name)
    return get_adapter(name)


def remove_adapter(name: str) -> None:
    """Deletes an adapter's files; an unknown name is ignored."""
    if is_name(name):
        shutil.rmtree(_folder() / name, ignore_errors=True)


def check_base(note: AdapterNote, name: str, base_id: str, base: Path) -> None:
    """
    Raises:
        AdapterRefused: the adapter was trained on other weights.
    """
    if note.base_fingerprint != fingerprint(base):
        raise AdapterRefused(adapter=name, model=base_id, detail=f"it was trained on other weights ({note.base})")


def fingerprint(model: Path) -> str:
    """A hash that tells weights apart: of the length, the first and the last megabyte of each weight file.

    Args:
        model: a model folder, or a single file.

    Raises:
        CorruptModel: the folder holds no weights.
    """
    files = [model] if model.is_file() else weight_files(model)
    return _fingerprint(tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=64)
def _fingerprint(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _ in files:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            digest.update(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def lora_settings(folder: Path) -> Mapping[str, Any]:
    """peft's `adapter_config.json`.

    Raises:
        CorruptModel: it is missing or damaged.
    """
    try:
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not isinstance(values.get("r"), int) or values["r"] < 1:
            raise ValueError("it names no rank")
        return values
    except (OSError, ValueError) as error:
        raise CorruptModel(path=str(folder / SETTINGS), detail=str(error)) from error


def lora_scaling(settings: Mapping[str, Any]) -> float:
    """What a LoRA's product is multiplied by: alpha / rank, with rsLoRA alpha / sqrt(rank)."""
    rank = float(settings["r"])
    return float(settings.get("lora_alpha", rank)) / (rank**0.5 if settings.get("use_rslora") else rank)


def _folder() -> Path:
    return config().home / "adapters"


def _adapter(folder: Path) -> Adapter | None:
    try:
        changed = (folder / "hearth.json").stat().st_mtime_ns
    except OSError:
        return None
    note = _note(folder, changed)
    return Adapter(folder.name, folder, note) if note and is_name(folder.name) else None


@lru_cache(maxsize=512)
def _note(folder: Path, _changed: int) -> AdapterNote | None:
    return AdapterNote.read(folder)


def of_model(model_id: str, place: Path | None) -> Iterator[Adapter]:
    """Adapters that were made for a model, by its id or by where it lies."""
    names = {model_id, str(place)} if place else {model_id}
    return (adapter for adapter in adapters() if adapter.note.base in names)
