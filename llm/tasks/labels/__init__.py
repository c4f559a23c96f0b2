"""What networks that store no names call their classes, in the languages of the pages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")


@cache
def class_names(kind: str) -> tuple[str, ...]:
    """The English names in the order of a network's outputs; `kind` is a file beside this one, such as `imagenet`."""
    return tuple(row[0] for row in _rows(kind))


@cache
def words(kind: str, language: str) -> Mapping[str, str]:
    """By English name, what a class is called in a language."""
    column = LANGUAGES.index(language) if language in LANGUAGES else 0
    return {row[0]: row[column] for row in _rows(kind)}


def in_language(label: str, language: str) -> str:
    """A label as a page shows it: in the visitor's language where it is known, else as the model has it."""
    for kind in ("imagenet", "cdla", "plain"):
        if label in (found := words(kind, language)):
            return found[label]
    return label


@cache
def _rows(kind: str) -> tuple[tuple[str, str], ...]:
    text = Path(__file__).with_name(f"{kind}.toml").read_text(encoding="utf-8")
    return tuple((row[0], row[1]) for row in tomllib.loads(text)["labels"])
