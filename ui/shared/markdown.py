"""An answer's words as the Markdown that Streamlit draws, and where a growing answer may be cut.

What a model wrote is to be read as it wrote it. Streamlit's Markdown has more in it than models mean: `name:Word[...]`
is a directive, a pair of single tildes strikes out, two dollars anywhere in a line make a formula, a line end is a
blank; and less: `\\(...\\)`, `\\[...\\]`, bare environments of mathematics, bold beside Chinese punctuation, `<br>`,
`<sub>`. Here is the one place that knows. Every step looks at each character a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])[ \t]")
_DEEPEST = 6
_QUOTE = re.compile(r" {0,3}>")
_ENVIRONMENTS = (
    "align|aligned|alignat|equation|gather|gathered|multline|split|cases|matrix|pmatrix|bmatrix|vmatrix|array"
)
_TOKEN = re.compile(
    rf"""
    (?P<ticks>`+)
  | (?P<display>\\\[|\$\$|\\begin\{{(?:{_ENVIRONMENTS})\*?\}})
  | (?P<inline>\\\()
  | (?P<escaped>\\.)
  | (?P<dollar>\$)
  | (?P<image>!\[)
  | (?P<target>\]\([^)\s]{{0,2000}}(?:\ "[^"\n]{{0,300}}")?\))
  | (?P<address>https?://[^\s<>"')\]]+)
  | (?P<tilde>~+)
  | (?P<colon>:+(?=[A-Za-z]))
  | (?P<tag></?(?:br|sub|sup|kbd)\s{{0,3}}/?>)
    """,
    re.X | re.I,
)
# `**Note：**please`: CommonMark closes no emphasis between punctuation and a letter. The marks go inside by one step.
_BOLD = re.compile(r"(?<![*\\_])(\*\*|__)(?=\S)([^*_\n]{1,400}?)(?<=\S)\1(?![*_])")
_STRUCTURE = re.compile(
    r"\s*(?:[-*+>#|]|\d{1,9}[.)]\s|:::|`{3}|~{3}|={3,}\s*$|-{3,}\s*$|<|\$\$|\\\[|\\begin\{)|(?: {4}|\t)"
)
_SUBSCRIPT = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_SUPERSCRIPT = str.maketrans("0123456789+-=()abcdefghijklmnoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")
_RAISED = re.compile(r"<(sub|sup)>([^<\n]{1,80})</\1>", re.I)
_KEY = re.compile(r"<kbd>([^<`\n]{1,40})</kbd>", re.I)
_LINE_BREAK = re.compile(r"<br\s{0,3}/?>", re.I)


def as_markdown(text: str, depth: int = 0) -> str:
    """The text as Streamlit's Markdown that reads as it was written.

    Code is left alone. A `$` opens a formula only when no space follows it, no letter or digit stands before it, no
    space stands before the closing one and no letter or digit after that. A formula that is still being written is
    shown as code. Pictures become links to their addresses: nothing is fetched from elsewhere by itself.

    Args:
        depth: how many quotations the text stands in; beyond `_DEEPEST` it is left as it is.
    """
    return "".join(part if is_code else _words(part, depth) for is_code, part in _parts(text))


def escaped(text: str) -> str:
    """Plain words for a label or a sentence that is drawn as Markdown: a file's name, a title."""
    return "".join("\\" + char if char in "\\`*_{}[]#+-.!|~<>$:" else char for char in text)


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """(is code, lines): fenced blocks, blocks that are code by their indent, and what stands between them."""
    kept: list[str] = []
    code: list[str] = []
    closing = ""
    in_list = after_blank = False
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        fence = _FENCE.match(line)
        if closing:
            code.append(line)
            if bare.startswith(closing) and not bare.strip(closing[0]):
                yield True, "".join(code)
                code, closing = [], ""
            continue
        if fence and not (fence[1][0] == "`" and "`" in fence[2]):
            if kept:
                yield False, "".join(kept)
            kept, code, closing = [], [line], fence[1]
            continue
        indented = line.startswith(("    ", "\t")) and bool(bare)
        if indented and not in_list and (after_blank or not kept):
            if kept:
                yield False, "".join(kept)
            kept = []
            yield True, line
            after_blank = True  # the next indented line belongs to it
            continue
        kept.append(line)
        if bare and not line[0].isspace():
            in_list = bool(_ITEM.match(line))
        after_blank = not bare
    if code:
        yield True, "".join(code)
    if kept:
        yield False, "".join(kept)


def _words(text: str, depth: int) -> str:
    """What stands outside of code blocks. Quotations are read without their marks, and marked again."""
    made: list[str] = []
    group: list[str] = []
    quoted = False
    for line in [*text.splitlines(keepends=True), ""]:
        is_quote = bool(_QUOTE.match(line))
        if group and (is_quote != quoted or not line):
            made.append(_quotation(group, depth) if quoted else _passage("".join(group)))
            group = []
        quoted = is_quote
        if line:
            group.append(line)
    return "".join(made)


def _quotation(lines: list[str], depth: int) -> str:
    if depth >= _DEEPEST:
        return "".join(lines)
    inner = as_markdown("".join(re.sub(r"^ {0,3}> ?", "", line, count=1) for line in lines), depth + 1)
    return "".join(
        f"> {line}".rstrip(" ") if not line.strip() else f"> {line}" for line in inner.splitlines(keepends=True)
    )


class _Closers:
    """Where the next of each closing mark stands: each is looked for once, however many openings there are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next: dict[str, int] = {}

    def after(self, mark: str, position: int) -> int:
        found = self._next.get(mark, -2)
        if found != -1 and found < position:
            found = self._next[mark] = self._text.find(mark, position)
        return found


def _passage(text: str) -> str:
    """Words with formulas, code and links in them."""
    text = _KEY.sub(r"`\1`", _RAISED.sub(_raised, text))
    breaks = _hard_breaks(text)
    closers = _Closers(text)
    made: list[str] = []
    position = 0
    while match := _TOKEN.search(text, position):
        made.append(_plain(text, position, match.start(), breaks))
        piece, position = _token(text, match, closers)
        made.append(piece)
    made.append(_plain(text, position, len(text), breaks))
    return "".join(made)


def _token(text: str, match: re.Match[str], closers: _Closers) -> tuple[str, int]:
    """What a token and what belongs to it become, and where the text goes on."""
    begin, after, kind = match.start(), match.end(), match.lastgroup
    mark = match[0]
    if kind == "ticks":
        end = _closing_ticks(text, mark, after, closers)
        return (text[begin:end], end) if end else (mark, after)
    if kind == "display":
        return _display(text, begin, after, mark, closers)
    if kind == "inline":
        end = closers.after("\\)", after)
        return (f"${_in_line(text, begin, text[after:end].strip())}$", end + 2) if end >= 0 else (mark, after)
    if kind == "dollar":
        return _dollar(text, begin, after, closers)
    if kind == "image":
        end = closers.after("]", after)
        shown = text[after:end] if end >= 0 else "x"
        if shown.strip() or not text.startswith("](", end):
            return "[", after
        stop = closers.after(")", end)
        return f"[{escaped(text[end + 2 : stop].strip())}", end
    if kind == "tilde":
        return (mark if len(mark) == 2 else "\\~" * len(mark)), after
    if kind == "colon":
        return "\\:" * len(mark), after
    if kind == "tag":
        in_table = _line_of(text, begin).lstrip().startswith("|")
        return (" " if in_table else "  \n") if _LINE_BREAK.fullmatch(mark) else escaped(mark), after
    return mark, after


def _closing_ticks(text: str, mark: str, position: int, closers: _Closers) -> int:
    """The end of inline code; 0 where it is none."""
    end = closers.after(mark, position)
    while end >= 0:
        run = len(mark)
        while text[end + run : end + run + 1] == "`":
            run += 1
        if run == len(mark):
            return end + run
        end = closers.after(mark, end + run)
    return 0


def _display(text: str, begin: int, after: int, mark: str, closers: _Closers) -> tuple[str, int]:
    """A formula in a place of its own where it stands alone, in the line where not; as code while it is not whole."""
    environment = mark.startswith("\\begin")
    closing = {"\\[": "\\]", "$$": "$$"}.get(mark, mark.replace("begin", "end"))
    end = closers.after(closing, after)
    line = _line_of(text, begin)
    indent = line[: len(line) - len(line.lstrip())]
    alone = not text[text.rfind("\n", 0, begin) + 1 : begin].strip()
    if end < 0:
        return (f"```latex\n{text[begin:].strip()}\n```", len(text)) if alone else (escaped(mark), after)
    stop = end + len(closing)
    formula = text[begin:stop] if environment else text[after:end].strip()
    if alone and not text[stop : _line_end(text, stop)].strip():
        lines = "\n".join(indent + row.strip() for row in formula.splitlines()) if "\n" in formula else indent + formula
        return f"$$\n{lines}\n{indent}$$", stop
    return f"$${_in_line(text, begin, formula)}$$", stop


def _dollar(text: str, begin: int, after: int, closers: _Closers) -> tuple[str, int]:
    end = closers.after("$", after)
    before, first, last, behind = (
        text[begin - 1 : begin],
        text[after : after + 1],
        text[end - 1 : end],
        text[end + 1 : end + 2],
    )
    formula = (
        end > after
        and end <= _line_end(text, after)
        and not first.isspace()
        and not (last.isspace() or last == "\\")
        and not (before.isascii() and before.isalnum())
        and not (behind.isascii() and behind.isalnum())
    )
    if not formula:
        return "\\$", after
    return f"${_in_line(text, begin, text[after:end])}$", end + 1


def _in_line(text: str, begin: int, formula: str) -> str:
    """A formula as it may stand in a line; in a table's, a bar would begin the next cell."""
    formula = " ".join(formula.split("\n"))
    return formula.replace("|", "{\\vert}") if _line_of(text, begin).lstrip().startswith("|") else formula


def _plain(text: str, begin: int, end: int, breaks: set[int]) -> str:
    """Words alone: emphasis that closes, and line ends that are seen."""
    words = "".join(
        "  \n" if char == "\n" and place in breaks else char for place, char in enumerate(text[begin:end], start=begin)
    )
    return _BOLD.sub(lambda match: _stepped(match, words), words) if "**" in words or "__" in words else words


def _stepped(match: re.Match[str], words: str) -> str:
    """`**重点：**请` as `**重点**：请`, `含**「重点」**内` as `含「**重点**」内`: the same words, drawn bold."""
    mark, inner = match[1], match[2]
    before, behind = words[match.start() - 1 : match.start()], words[match.end() : match.end() + 1]
    head = tail = ""
    if behind and not behind.isspace() and _is_letter(behind):
        while inner and not _is_letter(inner[-1]):
            inner, tail = inner[:-1], inner[-1] + tail
    if before and not before.isspace() and _is_letter(before):
        while inner and not _is_letter(inner[0]):
            inner, head = inner[1:], head + inner[0]
    return f"{head}{mark}{inner}{mark}{tail}" if inner.strip() else match[0]


def _is_letter(char: str) -> bool:
    return char.isalnum()


def _hard_breaks(text: str) -> set[int]:
    """Places of the line ends between two lines of words: Markdown would join them to one."""
    found: set[int] = set()
    position = 0
    lines = text.splitlines(keepends=True)
    for line, following in pairwise(lines):
        position += len(line)
        plain = line.strip() and not line.endswith(("  \n", "\\\n")) and not _STRUCTURE.match(line)
        item = _ITEM.match(line.lstrip()) and following[:1].isspace()
        if (plain or item) and following.strip() and not _STRUCTURE.match(following.lstrip(" ")[:40]):
            found.add(position - 1)
    return found


def _raised(match: re.Match[str]) -> str:
    """`H<sub>2</sub>O` as H₂O where every character has such a form, else as a small formula."""
    table = _SUBSCRIPT if match[1].lower() == "sub" else _SUPERSCRIPT
    if all(ord(char) in table for char in match[2]):
        return match[2].translate(table)
    return f"${'_' if match[1].lower() == 'sub' else '^'}{{\\text{{{match[2]}}}}}$"


def _line_of(text: str, place: int) -> str:
    return text[text.rfind("\n", 0, place) + 1 : min(place + 1, _line_end(text, place))]


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


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
