"""The kinds of document that there are, one row each, and how a file's kind is told."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from llm.documents.errors import DamagedDocument, EncryptedDocument, OldOfficeDocument, UnknownDocument
from llm.vision.picture import EXTENSIONS as PICTURES

if TYPE_CHECKING:
    from llm.documents.document import Page
    from llm.documents.source import Source


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """How documents of a kind are told and read.

    read: `module:function`, called with the `Source`, yields its pages; empty for recordings, which a speech model
    reads. page: what a page is called (`documents.page_<page>`): a page, slide, sheet, chapter, lines or a time.
    """

    name: str
    extensions: tuple[str, ...]
    read: str
    page: str = "lines"

    def reader(self) -> Callable[[Source], Iterator[Page]]:
        module, _, name = self.read.partition(":")
        reader: Callable[[Source], Iterator[Page]] = getattr(import_module(module), name)
        return reader


RECORDINGS = tuple(
    ["wav", "mp3", "m4a", "aac", "flac", "ogg", "oga", "opus", "wma", "amr", "mp4", "m4v", "mov", "mkv", "webm", "avi"]
)
_CODE = "py js ts jsx tsx css c h cc cpp hpp cs java kt go rs rb php pl lua r sh bash ps1 bat sql swift scala m jl ini"
_DATA = "toml yaml yml xml conf cfg properties env tex rst org"
KINDS: dict[str, DocumentKind] = {
    kind.name: kind
    for kind in (
        DocumentKind("text", ("txt", "text", "log", "asc"), "llm.documents.plain:text"),
        DocumentKind("markdown", ("md", "markdown", "mdx"), "llm.documents.plain:markdown"),
        DocumentKind("pdf", ("pdf",), "llm.documents.pdf:read", "page"),
        DocumentKind("docx", ("docx", "docm"), "llm.documents.word:read", "page"),
        DocumentKind("xlsx", ("xlsx", "xlsm"), "llm.documents.sheets:workbook", "rows"),
        DocumentKind("csv", ("csv", "tsv", "tab"), "llm.documents.sheets:csv_file", "rows"),
        DocumentKind("pptx", ("pptx", "pptm", "ppsx"), "llm.documents.slides:read", "slide"),
        DocumentKind("html", ("html", "htm", "xhtml"), "llm.documents.web:html", "part"),
        DocumentKind("epub", ("epub",), "llm.documents.web:epub", "chapter"),
        DocumentKind("mail", ("eml",), "llm.documents.mail:read", "part"),
        DocumentKind("json", ("json", "jsonl", "ndjson", "ipynb"), "llm.documents.structured:read"),
        DocumentKind("subtitles", ("srt", "vtt", "lrc", "ass", "ssa"), "llm.documents.times:subtitles", "time"),
        DocumentKind("recording", RECORDINGS, "", "time"),
        DocumentKind("picture", tuple(PICTURES), "llm.documents.scans:read", "page"),
        DocumentKind("code", (*_CODE.split(), *_DATA.split()), "llm.documents.plain:code"),
    )
}
EXTENSIONS = sorted(extension for kind in KINDS.values() for extension in kind.extensions)
_HEAD_BYTES = 1024


def kind_of(path: Path, name: str) -> DocumentKind:
    """The kind of a file, by what it begins with where that is telling, else by its name.

    Raises:
        UnknownDocument: no reader for it. OldOfficeDocument: doc, xls, ppt. DamagedDocument: not what its name says.
    """
    extension = name.rpartition(".")[2].lower()
    named = next((kind for kind in KINDS.values() if extension in kind.extensions), None)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise EncryptedDocument(name=name) if _is_locked(path) else OldOfficeDocument(name=name)
    found = _by_content(head, path)
    if found in KINDS:
        return KINDS[found]
    if named is not None and named.name in ("recording", "picture"):
        return named
    if found or (named is None and _binary(head)):
        raise UnknownDocument(name=name)
    if named is not None and named.name in _TOLD_BY_CONTENT:
        raise DamagedDocument(name=name, kind=extension.upper(), detail="it begins differently")
    return named or KINDS["text"]


_MEMBERS = {
    "word/document.xml": "docx",
    "xl/workbook.xml": "xlsx",
    "ppt/presentation.xml": "pptx",
    "META-INF/container.xml": "epub",
}
_TOLD_BY_CONTENT = {"pdf", *_MEMBERS.values()}


def _by_content(head: bytes, path: Path) -> str:
    """The name of the kind that the bytes tell; empty if they tell nothing."""
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                members = set(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return ""
        return next((kind for member, kind in _MEMBERS.items() if member in members), "zip")
    return ""


def _is_locked(path: Path) -> bool:
    """Whether a file in the old container is a new one with a password."""
    with path.open("rb") as file:
        return "EncryptedPackage".encode("utf-16-le") in file.read(1 << 24)


def _binary(head: bytes) -> bool:
    """Whether it can be no text: zeros, unless every second byte is one (UTF-16 or UTF-32)."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        return False
    zeros = head.count(0)
    return bool(zeros) and zeros < len(head) // 4
