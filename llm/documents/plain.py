"""Readers of text as it is: plain, Markdown, program code. A page is a stretch of lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llm.documents.document import Block, Page
from llm.documents.source import Source
from llm.documents.tables import table_blocks

LINES = 200
"""Lines a page."""
_CHAPTER = re.compile(r"\s*第[〇零一二三四五六七八九十百千两\d]{1,8}([卷部篇编章回节])(?=[\s:：、]|$).{0,40}$")
_ENGLISH_CHAPTER = re.compile(r"\s*(part|chapter|section)\s+([ivxlc]+|\d+)\b.{0,60}$", re.IGNORECASE)
_LEVELS = {"卷": 1, "部": 1, "篇": 1, "编": 1, "part": 1, "章": 2, "回": 2, "chapter": 2, "节": 3, "section": 3}
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*$")


def text(source: Source) -> Iterator[Page]:
    """Plain text: paragraphs end at empty lines, and lines that name a chapter are headings."""
    return paged(_paragraphs(source.text()))


def code(source: Source) -> Iterator[Page]:
    """Program code and the like: stretches between empty lines, as they are."""
    return paged((line, Block(block.text, "code")) for line, block in _paragraphs(source.text(), chapters=False))


def markdown(source: Source) -> Iterator[Page]:
    """Markdown: headings, fenced code, tables as rows, everything else as paragraphs."""
    return paged(markdown_blocks(source.text()))


def paged(blocks: Iterable[tuple[int, Block]]) -> Iterator[Page]:
    """Pages of about `LINES` lines each, out of blocks with the lines that they begin in (from 1)."""
    number, begin, end, held = 1, 1, 1, list[Block]()
    for line, block in blocks:
        if held and line - begin >= LINES:
            yield Page(number, f"{begin}–{end}", tuple(held))
            number, begin, held = number + 1, line, []
        end = max(end, line + block.text.count("\n"))
        held.append(block)
    if held:
        yield Page(number, f"{begin}–{end}", tuple(held))


def _paragraphs(words: str, chapters: bool = True) -> Iterator[tuple[int, Block]]:
    begin, held = 1, list[str]()
    for number, line in enumerate([*words.split("\n"), ""], start=1):
        chapter = (_CHAPTER.match(line) or _ENGLISH_CHAPTER.match(line)) if chapters else None
        if held and (chapter or not line.strip() or number - begin >= LINES):
            yield begin, Block("\n".join(held))
            held = []
        if chapter:
            yield number, Block(line.strip(), "heading", _LEVELS[chapter[1].lower()])
        elif line.strip():
            begin = begin if held else number
            held.append(line.rstrip() if chapters else line)


def markdown_blocks(words: str) -> Iterator[tuple[int, Block]]:
    """The blocks of Markdown with the lines that they begin in."""
    lines = words.split("\n")
    at, begin, held = _front_matter(lines), 0, list[str]()

    def paragraph() -> Iterator[tuple[int, Block]]:
        if held:
            yield begin + 1, Block("\n".join(held))
            held.clear()

    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.match(line):
            yield from paragraph()
            end = at + 1
            while end < len(lines) and not lines[end].strip().startswith(fence[1]):
                end += 1
            yield at + 1, Block("\n".join(lines[at + 1 : end]), "code")
            at = end + 1
        elif heading := _HEADING.match(line):
            yield from paragraph()
            yield at + 1, Block(heading[2], "heading", len(heading[1]))
            at += 1
        elif held and len(held) == 1 and re.fullmatch(r"\s{0,3}(=+|-{2,})\s*", line):
            yield begin + 1, Block(held.pop().strip(), "heading", 1 if "=" in line else 2)
            at += 1
        elif "|" in line and at + 1 < len(lines) and "|" in lines[at + 1] and _RULE.match(lines[at + 1]):
            yield from paragraph()
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            rows = [_cells(row) for row in (line, *lines[at + 2 : end])]
            for offset, block in enumerate(table_blocks(rows)):
                yield at + 1 + offset, block
            at = end
        else:
            if not line.strip():
                yield from paragraph()
            else:
                begin = begin if held else at
                held.append(line.rstrip())
            at += 1
    yield from paragraph()


def _front_matter(lines: list[str]) -> int:
    """The first line behind a block of settings between dashes; 0 if there is none."""
    if lines[0].strip() != "---":
        return 0
    return next((at + 1 for at, line in enumerate(lines[1:50], start=1) if line.strip() == "---"), 0)


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip())
    if cells and not cells[0].strip():
        cells = cells[1:]
    if cells and not cells[-1].strip():
        cells = cells[:-1]
    return [cell.strip().replace("\\|", "|") for cell in cells]
