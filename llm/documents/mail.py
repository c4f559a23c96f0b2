"""Mail (EML): who, when and what about, then the words. Files that hang on it are named, not opened."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, Message

from llm.documents import web
from llm.documents.document import Block, Page
from llm.documents.encodings import decoded
from llm.documents.source import Source

_HEADS = ("From", "To", "Cc", "Date")


def read(source: Source) -> Iterator[Page]:
    """A mail as one page."""
    mail = email.message_from_bytes(source.path.read_bytes(), policy=email.policy.default)
    blocks = [Block(str(mail["Subject"]), "heading", 1)] if mail["Subject"] else []
    heads = [f"{name}: {mail[name]}" for name in _HEADS if mail[name]]
    blocks += [Block("\n".join(heads))] if heads else []
    body = mail.get_body(("plain", "html")) if isinstance(mail, EmailMessage) else None
    if body is not None:
        text = _text(body, source.name)
        if body.get_content_type() == "text/html":
            blocks += web.blocks(text)
        else:
            blocks += [Block(part.strip()) for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
    blocks += [Block(str(part.get_filename()), "note") for part in mail.walk() if part.get_filename()]
    yield Page(1, "", tuple(blocks))


def _text(part: Message, name: str) -> str:
    """A part's words; many mails that say gb2312 have characters that only its successors know."""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    said = str(part.get_content_charset() or "").lower()
    said = "gb18030" if said in ("gb2312", "gbk") else said
    try:
        return data.decode(said or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return decoded(data, name)[0]
