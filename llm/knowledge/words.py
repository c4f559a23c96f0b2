"""Text as words to search for: pairs of characters for Chinese and its neighbours, words and codes for the rest.

Built-in tokenizers find one Chinese answer in eight, pairs of characters all but one in a hundred. A code such as
`AB-2099` is a word as a whole and in its parts. Index and question go through the same code.
"""

from __future__ import annotations

import re
import unicodedata

_CJK = "\u2e80-\u2fdf\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUNS = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:[-_./][^\W_{_CJK}]+)*")
_PARTS = re.compile(r"[-_./]")
_NUMBER = re.compile(r"(?<=\d)[,，](?=\d{3}(?:\D|$))")
_JOINS = re.compile(rf"(?<=[{_CJK}])\s+(?=[{_CJK}])")
_ASIDES = (
    "a an and are as at be by did do does for from has have how in is it of on or that the this to was were what when "
    "where which who why with"
)
_ASIDE = frozenset(_ASIDES.split())
_ASKING = re.compile(
    r"为什么|什么意思|什么|怎么样?|如何|多少|多长|多久|多大|哪[里儿些个]?|是否|请问|为何|[吗呢谁]"
    r"|\bhow (?:long|much|many|often|far|old|big|large|tall|deep|high)\b",
    re.IGNORECASE,
)
"""What a question asks with; the Chinese characters around it are no words together with it."""


def plain(text: str) -> str:
    """Text in one form: NFKC, lower case, no line ends inside Chinese words, no separators in numbers."""
    text = unicodedata.normalize("NFKC", text).lower()
    return _NUMBER.sub("", _JOINS.sub("", text))


def words_of(text: str) -> list[str]:
    """The words of a text, in order, with repetitions."""
    found: list[str] = []
    for match in _RUNS.finditer(plain(text)):
        run = match[0]
        if re.match(rf"[{_CJK}]", run):
            found += [run[at : at + 2] for at in range(len(run) - 1)] or [run]
            continue
        found.append(run)
        if len(parts := _PARTS.split(run)) > 1:
            found += [part for part in parts if len(part) > 1]
    return found


def is_code(word: str) -> bool:
    """Whether a word is a code such as `ab-2099`: letters and digits together, which nothing else is called."""
    return len(word) > 2 and any(map(str.isdigit, word)) and any(map(str.isalpha, word)) and word.isascii()


def asked_words(question: str) -> list[str]:
    """The words of a question, each once, without those that every question has; all of them if there are no others."""
    words = [word for word in dict.fromkeys(words_of(_ASKING.sub(" | ", question))) if word not in _ASIDE]
    return words or list(dict.fromkeys(words_of(question)))


def estimated_tokens(text: str) -> int:
    """About how many tokens an embedder makes of a text: one for 1.2 Chinese characters, one for 3.5 others."""
    chinese = sum("\u2e80" <= character <= "\u9fff" or character > "\U0001ffff" for character in text)
    return round(chinese / 1.2 + (len(text) - chinese) / 3.5 + 0.5)
