"""Packed documents (DOCX, XLSX, PPTX, EPUB): members read within limits, XML without entities."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

from llm.documents.errors import DamagedDocument, DocumentInflates, EncryptedDocument, ForbiddenMarkup
from llm.documents.source import Source

_PIECE = 1 << 18
_PROLOG = 1 << 16
_RATIO_FROM = 16 << 20
"""Below so many bytes any ratio is harmless: an empty sheet is packed very well."""


class Archive:
    """A zip file's members, by name. What is inflated is counted while it is, since headers lie.

    Raises:
        DamagedDocument: no zip file. DocumentInflates: too many members, or too large ones. EncryptedDocument.
    """

    def __init__(self, source: Source, kind: str) -> None:
        self.source, self.kind = source, kind
        self._inflated = 0
        self._packed = source.path.stat().st_size
        try:
            self._zip = zipfile.ZipFile(source.path)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise self._damaged(error) from error
        members = self._zip.infolist()
        if len(members) > source.limits.entries:
            raise DocumentInflates(name=source.name, limit=f"{source.limits.entries:,}")
        if any(member.flag_bits & 1 for member in members):
            raise EncryptedDocument(name=source.name)
        self._names = {member.filename.lower(): member.filename for member in members}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._names

    def names(self) -> list[str]:
        return list(self._names.values())

    def pieces(self, name: str) -> Iterator[bytes]:
        """A member's bytes. Raises DamagedDocument, DocumentInflates."""
        try:
            with self._zip.open(self._names[name.lower()]) as member:
                while piece := member.read(_PIECE):
                    self._inflated += len(piece)
                    limit = self.source.limits.inflated_bytes
                    ratio = self._inflated > _RATIO_FROM and self._inflated > self.source.limits.ratio * self._packed
                    if self._inflated > limit or ratio:
                        raise DocumentInflates(name=self.source.name, limit=f"{limit >> 20} MiB")
                    yield piece
        except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise self._damaged(error) from error

    def read(self, name: str) -> bytes:
        """A whole member. Raises DamagedDocument, DocumentInflates."""
        return b"".join(self.pieces(name))

    def xml(self, name: str) -> ElementTree.Element:
        """A member's tree. Raises ForbiddenMarkup, DamagedDocument, DocumentInflates."""
        return parsed(self.read(name), self.source.name, self.kind)

    def elements(self, name: str, tag: str) -> Iterator[ElementTree.Element]:
        """Each element of a tag once it is whole, in document order; the tree behind it is given up."""
        parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(("start", "end"))
        parents: list[ElementTree.Element] = []
        begun = False
        for piece in self.pieces(name):
            if not begun:
                refuse_entities(piece[:_PROLOG], self.source.name)
                begun = True
            try:
                parser.feed(piece)
            except ElementTree.ParseError as error:
                raise self._damaged(error) from error
            events: Any = parser.read_events()
            for event, element in events:
                if event == "start":
                    parents.append(element)
                    continue
                parents.pop()
                if element.tag == tag:
                    yield element
                    element.clear()
                    if parents:
                        parents[-1].remove(element)

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """What a member refers to: id -> (kind of relation, member). Addresses elsewhere are left out."""
        folder, _, file = name.rpartition("/")
        place = f"{folder}/_rels/{file}.rels" if folder else f"_rels/{file}.rels"
        if place not in self:
            return {}
        found = {}
        for relation in self.xml(place):
            if relation.get("TargetMode") == "External":
                continue
            target = unquote(relation.get("Target", ""))
            member = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
            found[relation.get("Id", "")] = relation.get("Type", "").rpartition("/")[2], member
        return found

    def _damaged(self, error: Exception) -> DamagedDocument:
        return DamagedDocument(name=self.source.name, kind=self.kind, detail=str(error) or type(error).__name__)


def parsed(data: bytes, name: str, kind: str) -> ElementTree.Element:
    """The tree of XML without entities. Raises ForbiddenMarkup, DamagedDocument."""
    refuse_entities(data[:_PROLOG], name)
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise DamagedDocument(name=name, kind=kind, detail=str(error)) from error


class _Begun(Exception):
    """The first element: behind it nothing can be declared."""


def refuse_entities(head: bytes, name: str) -> None:
    """Looks at what stands before the first element. Raises ForbiddenMarkup if entities are declared there."""

    def begun(*_: object) -> None:
        raise _Begun

    def declared(*_: object) -> None:
        raise ForbiddenMarkup(name=name)

    parser = expat.ParserCreate()
    parser.StartElementHandler = begun
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(head, False)
    except _Begun:
        return
    except expat.ExpatError:
        return  # the parser that reads all of it says what is wrong
    if len(head) == _PROLOG:  # a document that has not begun by now hides something
        raise ForbiddenMarkup(name=name)


def local(element: ElementTree.Element) -> str:
    """A tag or attribute name without its namespace."""
    return str(element.tag).rpartition("}")[2]
