"""An answer's words as the Markdown that Streamlit draws, and where a growing answer may be cut.

Models write mathematics as `\\(...\\)` and `\\[...\\]` as often as with dollars, and dollars as money;
Streamlit knows only dollars, and takes every pair of them for mathematics.
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""
    (?P<code>
        ^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*(?:\n.*?)??(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)  # fenced, perhaps still open
      | (?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)                                  # inline
    )
  | ^(?P<indent>[ \t]*)(?:\$\$(?P<block>.+?)\$\$|\\\[(?P<bracket>.+?)\\\])[ \t]*$           # a formula on its own
  | ^(?P<open>[ \t]*(?:\$\$|\\\[).*)\Z                                                     # ... not closed yet
  | \\\[(?P<display>.+?)\\\]
  | \\\((?P<inline>.+?)\\\)
  | (?P<kept>\$\$.+?\$\$ | \$(?![\s$])[^$\n]*?(?<![\s\\])\$(?!\d) | \\[\\$])              # pandoc's rule for $...$
  | (?P<money>\$)
    """,
    re.X | re.S | re.M,
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])[ \t]")


def as_markdown(text: str) -> str:
    """The text with its formulas in dollars, money escaped and a formula that is still being written as code.

    Code is left alone. A `$` opens a formula only when no space follows it, no space stands before the
    closing one and no digit after that (pandoc's `tex_math_dollars` rule).
    """
    return _PIECE.sub(_piece, text)


def _piece(match: re.Match[str]) -> str:
    if match["code"] is not None or match["kept"] is not None:
        return match[0]
    if (formula := match["block"] or match["bracket"]) is not None:
        indent = match["indent"]
        return f"{indent}$$\n{indent}{formula.strip()}\n{indent}$$"
    if match["open"] is not None:
        return f"```latex\n{match['open'].strip()}\n```"
    if match["money"] is not None:
        return r"\$"
    return f"$${match['display'].strip()}$$" if match["display"] else f"${match['inline'].strip()}$"


def settled_length(text: str, long: int = 2000) -> int:
    """How many characters at the start of a growing Markdown text no later character can change.

    They end at a blank line outside code and formulas, before a line that is not indented (which could
    belong to a list). In a text of more than `long` characters an item of a list may begin a new part too.
    """
    settled = position = 0
    closing: str | None = None  # what ends the code block or formula that the line stands in
    after_blank = False
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if closing is not None:
            closing = None if _closes(bare, closing) else closing
        else:
            begins = bool(bare) and not line[0].isspace() and position > 0
            if begins and (after_blank or (len(text) > long and _ITEM.match(line))):
                settled = position
            closing = _opens(line, bare)
        after_blank = not bare
        position += len(line)
    return settled


def _opens(line: str, bare: str) -> str | None:
    fence = _FENCE.match(line)
    if fence and not (fence[1][0] == "`" and "`" in fence[2]):
        return fence[1]
    if bare.startswith("$$") and bare.count("$$") == 1:
        return "$$"
    return "\\]" if bare.startswith("\\[") and "\\]" not in bare else None


def _closes(bare: str, closing: str) -> bool:
    if closing in ("$$", "\\]"):
        return closing in bare
    return bare.startswith(closing) and not bare.strip(closing[0])
