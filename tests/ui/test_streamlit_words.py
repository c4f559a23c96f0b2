"""Streamlit's own words: those that are replaced are really said by the Streamlit that is installed."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit

from ui.app.streamlit_words import STREAMLITS
from ui.shared.i18n import LANGUAGES, words

STATIC = Path(streamlit.__file__).parent / "static" / "static" / "js"


def test_every_word_is_one_that_streamlit_says():
    said = "\n".join(path.read_text(errors="replace") for path in STATIC.glob("*.js"))
    for key, theirs in STREAMLITS.items():
        for part in re.split(r"\{\w+\}", theirs):
            plain = part.strip()
            starts = [plain[: space.start()] + " ${" for space in re.finditer(" ", plain)]  # `Upload ${many ? ...}`
            assert plain in said or any(start in said for start in starts), (
                f"{key}: Streamlit does not say {theirs!r} any more"
            )


def test_every_language_fills_in_what_streamlit_fills_in():
    for lang in LANGUAGES:
        for key, theirs in STREAMLITS.items():
            assert re.findall(r"\{\w+\}", words(lang)[f"streamlit.{key}"]) == re.findall(r"\{\w+\}", theirs)
