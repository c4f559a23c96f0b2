"""Languages in the forms in which people and programs name them, as Whisper's codes."""

from __future__ import annotations

import tomllib
from functools import cache

from llm.paths import LOCALES

_AUTO = ("", "auto", "autodetect", "detect", "none", "null")
_ALIASES = {
    "cmn": "zh",
    "chi": "zh",
    "zho": "zh",
    "mandarin": "zh",
    "cantonese": "yue",
    "eng": "en",
    "jpn": "ja",
    "kor": "ko",
}


def language_code(name: str) -> str | None:
    """`zh` for zh, ZH, zh-CN, zh_Hant_TW, Chinese, 中文; None for what means that it is to be detected.

    Raises:
        ValueError: it names no language.
    """
    wanted = name.strip().lower()
    if wanted in _AUTO:
        return None
    known = _codes_by_name()
    first = wanted.replace("_", "-").split("-")[0]
    for candidate in (wanted, first):
        found = _ALIASES.get(candidate) or known.get(candidate)
        if found:
            return found
    raise ValueError(f"{name!r} names no language; a code such as en or zh does")


@cache
def _codes_by_name() -> dict[str, str]:
    """Codes, and names in every language that the app speaks, in lower case."""
    found: dict[str, str] = {}
    for folder in sorted(LOCALES.iterdir()):
        names = tomllib.loads((folder / "languages.toml").read_text(encoding="utf-8"))
        found |= {name.lower(): code for code, name in names.items()}
        found |= {code: code for code in names}
    return found
