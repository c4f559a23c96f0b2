"""Settings files of a model, read with a bound."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.errors import CorruptModel, UnsupportedModel

MAX_JSON_BYTES = 64 << 20
POINTER = "it is a Git LFS pointer: the file that it stands for was not fetched (git lfs pull fetches it)"
_POINTER_BYTES = 1024  # what Git LFS keeps in a file's place is shorter
_KINDS: Mapping[str, tuple[type, str]] = {
    "model_type": (str, "a text"),
    "architectures": (list, "a list of names"),
    "auto_map": (dict, "an object"),
    "id2label": (dict, "an object"),
    "quantization_config": (dict, "an object"),
    "text_config": (dict, "an object"),
    "vision_config": (dict, "an object"),
}
"""What the keys of config.json that are looked at here have to be, where they are there at all."""


def read_json(path: Path) -> Any:
    """A JSON file's value, with or without a byte order mark.

    Raises:
        CorruptModel: it is missing, far too large for what it should be, or not JSON.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CorruptModel(path=str(path), detail="it is no file")
        if status.st_size > MAX_JSON_BYTES:
            raise CorruptModel(path=str(path), detail="it is too large to be a settings file")
        if is_pointer(path):
            raise CorruptModel(path=str(path), detail=POINTER)
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise CorruptModel(path=str(path.parent), detail=f"it has no {path.name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptModel(path=str(path), detail=f"it is not valid JSON ({error})") from error


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json, each part that is looked at of its kind.

    Raises:
        UnsupportedModel: there is none, so the folder is no Hugging Face checkpoint.
        CorruptModel: it is not JSON, or a part of it is of the wrong kind; names the part.
    """
    if not (folder / "config.json").exists():
        raise UnsupportedModel(path=str(folder), detail="it has no config.json")
    return checked_config(read_json(folder / "config.json"), folder / "config.json")


def checked_config(value: Any, path: Path) -> dict[str, Any]:
    """A config.json's value, if it is one.

    Raises:
        CorruptModel: it is not an object, or a part of it is of the wrong kind; names the part.
    """
    if not isinstance(value, dict):
        raise CorruptModel(path=str(path), detail="it is not an object")
    for key, (kind, words) in _KINDS.items():
        if value.get(key) is not None and not isinstance(value[key], kind):
            raise CorruptModel(path=str(path), detail=f"{key} is not {words}")
    if not all(isinstance(name, str) for name in value.get("architectures") or ()):
        raise CorruptModel(path=str(path), detail="architectures is not a list of names")
    return {key: part for key, part in value.items() if key not in _KINDS or part is not None}


def is_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS keeps in its place until it is fetched."""
    if path.stat().st_size > _POINTER_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")
