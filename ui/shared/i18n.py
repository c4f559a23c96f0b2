"""Words in the visitor's language: the key `chat.send` is `send` of assets/locales/<language>/chat.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache

import streamlit as st

from llm.errors import ModelError
from llm.paths import LOCALES
from ui.shared.units import readable_bytes

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "hearth_lang"
# Names inside errors that are not proper names -> the key of the visitor's word for them.
_NAMES = {"the package index": "models.the_package_index"}


def language() -> str:
    """The visitor's language: chosen in this session, else remembered in a cookie, else the browser's, else English."""
    chosen = st.session_state.get("app.language") or st.context.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if (st.context.locale or "").lower().startswith("zh") else "en"


def t(key: str, **values: object) -> str:
    """The sentence of a key in the visitor's language, with `{name}` values filled in.

    Raises:
        KeyError: no locale file has the key.
    """
    sentence = words(language())[key]
    return sentence.format_map(values) if values else sentence


def explain(error: ModelError) -> str:
    """What an error means and what to do, in the visitor's language; the English sentence where none is written."""
    return explain_code(error.code, error.values) or str(error)


def explain_code(code: str, values: Mapping[str, object]) -> str:
    """The same for an error that was kept as its code and values; empty when no sentence is written for it."""
    sentence = words(language()).get(f"errors.{code}", "")
    sizes = {
        key: readable_bytes(v) for key, v in values.items() if key.endswith("_bytes") and isinstance(v, (int, float))
    }
    named = _NAMES.get(str(values.get("source")))
    names = {"source": words(language())[named]} if named else {}
    try:
        return sentence.format_map({**values, **sizes, **names})
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):  # values of an import may be anything
        return ""


@cache
def words(lang: str) -> dict[str, str]:
    """All sentences of a language by `<file>.<key>`."""
    table: dict[str, str] = {}
    for file in sorted((LOCALES / lang).glob("*.toml")):
        for key, sentence in tomllib.loads(file.read_text(encoding="utf-8")).items():
            table[f"{file.stem}.{key}"] = sentence
    return table
