"""Files that are made to hurt: they are refused with a sentence, and the limits hold."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from llm.documents.errors import (
    DamagedDocument,
    DocumentInflates,
    DocumentTooHeavy,
    DocumentTooLarge,
    DocumentUnreadable,
    EncryptedDocument,
    ForbiddenMarkup,
    OldOfficeDocument,
    UnknownDocument,
)
from llm.documents.reading import read_document
from llm.documents.source import Limits

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
BODY = f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>%s</w:t></w:r></w:p></w:body></w:document>'


def packed(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def word(text: bytes) -> bytes:
    return packed({"word/document.xml": BODY.encode() % text})


BILLION_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">%s]>""" % b"".join(
    b'<!ENTITY %c "%s">' % (98 + at, b"&%c;" % (97 + at) * 10) for at in range(9)
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
WIDE = OUTSIDE.decode().replace('"1.0"', '"1.0" encoding="utf-16"') + BODY % "&a;"


@pytest.mark.parametrize(
    "name, data, error",
    [
        ("bomb.docx", word(b"<w:t>" + bytes(400 << 20)), DocumentInflates),
        ("laughs.docx", packed({"word/document.xml": BILLION_LAUGHS + BODY.encode() % b"&j;"}), ForbiddenMarkup),
        ("outside.docx", packed({"word/document.xml": OUTSIDE + BODY.encode() % b"&a;"}), ForbiddenMarkup),
        ("wide.docx", packed({"word/document.xml": WIDE.encode("utf-16")}), ForbiddenMarkup),
        ("many.docx", packed({f"{at}": b"" for at in range(10_001)} | {"word/document.xml": b""}), DocumentInflates),
        ("none.docx", "我不是 Word 文件".encode(), DamagedDocument),
        ("cut.docx", word(b"text")[:-40], DamagedDocument),
        ("empty.docx", packed({"word/document.xml": b"<not closed"}), DamagedDocument),
        ("none.pdf", b"\x89PNG and so on", DamagedDocument),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), OldOfficeDocument),
        (
            "locked.xlsx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"),
            EncryptedDocument,
        ),
        ("some.zip", packed({"a.txt": b"text"}), UnknownDocument),
    ],
)  # fmt: skip
def test_hostile_and_broken_files_are_refused_by_name(tmp_path: Path, name, data, error):
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(error, match=name):
        read_document(file, name)


def test_headers_that_lie_about_sizes_are_not_believed(tmp_path: Path):
    data = bytearray(word(b"a" * (40 << 20)))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # the size once unpacked
    (tmp_path / "a.docx").write_bytes(data)
    with pytest.raises(DocumentUnreadable):
        read_document(tmp_path / "a.docx", "a.docx", Limits(inflated_bytes=8 << 20))


def test_names_inside_of_packed_files_lead_nowhere(tmp_path: Path):
    rels = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        b'Type="x/slide" Target="../../../../etc/passwd"/></Relationships>'
    )
    office = "http://schemas.openxmlformats.org"
    show = (
        f'<p xmlns:p="{office}/presentationml/2006/main" xmlns:r="{office}/officeDocument/2006/relationships">'
        '<p:sldId r:id="r"/></p>'
    ).encode()
    (tmp_path / "a.pptx").write_bytes(packed({"ppt/presentation.xml": show, "ppt/_rels/presentation.xml.rels": rels}))
    with pytest.raises(DocumentUnreadable):
        read_document(tmp_path / "a.pptx", "a.pptx")


def test_size_memory_and_time_have_limits(tmp_path: Path):
    file = tmp_path / "a.txt"
    with file.open("wb") as made:
        made.truncate(2 << 30)  # a sparse file of 2 GiB
    with pytest.raises(DocumentTooLarge, match="2,048 MiB"):
        read_document(file, "a.txt")
    file.write_text("很多字。\n\n" * 400_000, encoding="utf-8")
    with pytest.raises(DocumentTooHeavy):
        read_document(file, "a.txt", Limits(memory_bytes=40 << 20))
    with pytest.raises(DocumentTooHeavy):
        read_document(file, "a.txt", Limits(wall_s=0.1))


def test_what_is_beyond_the_limit_of_pages_is_left_out_which_is_said(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_text("一行\n\n" * 1000, encoding="utf-8")
    document = read_document(file, "a.txt", Limits(pages=2))
    assert len(document.pages) == 2 and document.notes == (("cut", {"page": 3}),)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_a_file_that_never_ends_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DocumentUnreadable):
        read_document(tmp_path / "a.txt", "a.txt")
