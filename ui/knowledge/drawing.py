"""What the Knowledge page draws as HTML: answers with their marks, passages with what is lit. Pure: no widgets in here.

Everything that comes from people, documents or models is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from llm.knowledge.support import Support

Range = tuple[int, int]
"""Characters of a text, from and up to."""
SUPPORT: tuple[Support, ...] = ("supported", "partly", "not_found")
"""The marks that are told; a sentence that claims nothing has none."""

STYLE = """
<style>
.know-answer { line-height: 1.9; overflow-wrap: anywhere; white-space: pre-wrap; }
.know-answer .s { border-bottom: 2px solid transparent; padding-bottom: 1px; }
.know-answer .supported { border-bottom-color: #009e73; }
.know-answer .partly { border-bottom: 2px dashed #e69f00; }
.know-answer .not_found { border-bottom: 2px dotted #d55e00; }
.know-answer sup { font-size: .68rem; font-weight: 600; padding: 0 .22rem; margin-inline-start: .12rem;
                   border-radius: .3rem; background: rgba(0,114,178,.18); }
.know-legend { font-size: .8rem; opacity: .85; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.know-legend i { font-style: normal; padding-bottom: 1px; }
.know-passage { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.75; max-height: 24rem; overflow-y: auto;
                font-size: .92rem; }
.know-passage .context { opacity: .65; font-size: .82rem; display: block; margin-bottom: .35rem; }
.know-passage mark { color: inherit; background: rgba(240,196,25,.38); border-radius: .2rem; padding: .05rem .1rem; }
.know-passage .word { background: rgba(0,114,178,.2); border-radius: .2rem; }
.know-chunks span { padding: .05rem 0; }
.know-chunks span:nth-child(odd) { background: rgba(0,114,178,.16); }
.know-chunks span:nth-child(even) { background: rgba(230,159,0,.2); }
.know-chunks sup { font-size: .65rem; font-weight: 600; opacity: .75; padding: 0 .2rem; }
</style>
"""


def answer_html(sentences: Iterable[tuple[str, Support, Sequence[int]]]) -> str:
    """An answer sentence by sentence: its text, how far it is supported, the numbers of its passages."""
    parts = []
    for text, support, numbers in sentences:
        marks = "".join(f"<sup>{number}</sup>" for number in numbers)
        parts.append(f'<span class="s {support}">{escape(text.rstrip())}</span>{marks}{_end(text)}')
    return f'<div class="know-answer">{"".join(parts)}</div>'


def _end(text: str) -> str:
    """The white space behind a sentence: its line ends are kept."""
    return escape(text[len(text.rstrip()) :])


def legend_html(names: Iterable[tuple[Support, str]]) -> str:
    """What the marks mean."""
    items = "".join(
        f'<span class="know-answer"><i class="s {support}">{escape(name)}</i></span>' for support, name in names
    )
    return f'<div class="know-legend">{items}</div>'


def passage_html(text: str, context: str = "", lit: Sequence[Range] = (), words: Sequence[str] = ()) -> str:
    """A passage with what is lit in it, and the words that were searched for."""
    head = f'<span class="context">{escape(context)}</span>' if context else ""
    return f'<div class="know-passage" tabindex="0">{head}{_marked(text, lit, words)}</div>'


def chunks_html(texts: Iterable[tuple[str, str]]) -> str:
    """A document's pieces one after the other in turning colours, each with its label."""
    pieces = "".join(f"<span>{escape(text)}<sup>{escape(label)}</sup></span>\n" for text, label in texts)
    return f'<div class="know-passage know-chunks" tabindex="0">{pieces}</div>'


def _marked(text: str, lit: Sequence[Range], words: Sequence[str]) -> str:
    """Escaped text in which every character stands once; words are marked within lit ranges too."""
    kinds = ["" for _ in text]
    folded = text.lower()
    folded = folded if len(folded) == len(text) else text
    for word in sorted({word.lower() for word in words if word.strip()}, key=len):
        at = folded.find(word)
        while at >= 0:
            kinds[at : at + len(word)] = ["word"] * len(word)
            at = folded.find(word, at + len(word))
    in_mark = [False] * len(text)
    for start, end in lit:
        for at in range(max(0, start), min(end, len(text))):
            in_mark[at] = True
    return "".join(
        f"<mark>{inner}</mark>" if marked else inner
        for marked, stretch in groupby(range(len(text)), in_mark.__getitem__)
        if (inner := _with_words(text, kinds, list(stretch)))
    )


def _with_words(text: str, kinds: Sequence[str], places: Sequence[int]) -> str:
    """A stretch of a text, escaped, with its words in spans."""
    parts = []
    for kind, run in groupby(places, kinds.__getitem__):
        part = escape("".join(text[at] for at in run))
        parts.append(f'<span class="{kind}">{part}</span>' if kind else part)
    return "".join(parts)
