"""Whisper checkpoints in transformers' layout, converted once to CTranslate2's and kept in the data folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from llm.config import config
from llm.errors import CorruptModel, UnsupportedModel
from llm.plan import LoadProgress

_COPIED = ("tokenizer.json", "preprocessor_config.json")


class CannotConvert(Exception):
    """CTranslate2's converter doesn't take this checkpoint. The text says why."""


def converted(folder: Path, progress: LoadProgress) -> Path:
    """The folder of the converted checkpoint, made now if it isn't there or the checkpoint has changed since.

    Raises:
        CorruptModel: config.json or the weights cannot be read.
        UnsupportedModel: it is not a Whisper.
        CannotConvert: the converter refuses; the checkpoint may still run through transformers.
    """
    described = _config(folder)
    if described.get("model_type") != "whisper":
        raise UnsupportedModel(path=str(folder), detail=f"{described.get('model_type')!r} is not a Whisper")
    place = config().models_dir / "converted" / f"{folder.name}-{_fingerprint(folder)}"
    if (place / "model.bin").is_file():
        return place
    progress("converting", 0, 1)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="converting-", dir=place.parent))
    try:
        _convert(folder, temporary / "model")
        if not place.is_dir():
            (temporary / "model").rename(place)  # in one step: a half-written model is never found
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress("converting", 1, 1)
    return place


def _convert(folder: Path, target: Path) -> None:
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError as error:
        raise CannotConvert("ctranslate2 is not installed") from error
    try:
        converter = TransformersConverter(str(folder), load_as_float16=True)
        converter.convert(str(target), quantization="float16")
    except Exception as error:  # the converter raises whatever the checkpoint's reader or its own checks raise
        raise CannotConvert(f"{type(error).__name__}: {error}") from error
    for name in _COPIED:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    if not (target / "tokenizer.json").is_file():
        _write_tokenizer(folder, target)


def _write_tokenizer(folder: Path, target: Path) -> None:
    """Older checkpoints hold vocab.json and merges.txt only; faster-whisper would fetch a tokenizer from a hub."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    except (OSError, ValueError) as error:
        raise CannotConvert(f"it has no tokenizer: {error}") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptModel(path=str(folder), detail=str(error)) from error
    return config


def _fingerprint(folder: Path) -> str:
    """Changes with the files' names, sizes and times."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for file in sorted(folder.iterdir()):
        if file.is_file():
            stat = file.stat()
            digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
