"""Words in both languages."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import llm.documents.errors
import llm.errors
import llm.finetune.errors
from llm.settings import CONTROLS
from ui.shared.i18n import LANGUAGES, words

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "ui").rglob("*.py"), *(ROOT / "pages").glob("*.py")]


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_keys_with_the_same_values():
    english, chinese = words("en"), words("zh")
    assert set(english) == set(chinese)
    assert {key: fields(s) for key, s in english.items()} == {key: fields(s) for key, s in chinese.items()}


def test_no_sentence_is_empty_or_left_in_the_other_language():
    for key, sentence in words("zh").items():
        assert sentence.strip(), key
    for key, sentence in words("en").items():
        assert sentence.strip() and not re.search(r"[\u4e00-\u9fff]", sentence), key


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_key_that_a_page_uses_is_written(source):
    for key in re.findall(r"""\bt\(\s*["']([a-z_]+\.[a-z0-9_]+)["']""", source.read_text(encoding="utf-8")):
        # A key that ends in "_" is the beginning of several.
        assert key in words("en") or (key.endswith("_") and any(k.startswith(key) for k in words("en"))), key


def errors(cls=llm.errors.ModelError):
    return [cls, *(deeper for sub in cls.__subclasses__() for deeper in errors(sub))]


@pytest.mark.parametrize("error", errors(), ids=lambda cls: cls.code)
def test_every_error_has_its_sentence(error):
    for language in LANGUAGES:
        sentence = words(language)[f"errors.{error.code}"]
        assert fields(sentence) <= fields(error.sentence), error.code


def test_every_setting_has_its_name_and_help():
    for name in (control.name for control in CONTROLS):
        assert f"settings.{name}" in words("en") and f"settings.{name}_help" in words("en")
