"""Reading an exported JSON file, this Hearth's or another program's, which anybody may have written.

Everything is checked before the first row is made, and then made in one transaction.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from llm.errors import BadImport
from llm.messages import PART_TYPES, ROLES, AudioPart, ImagePart, Message
from llm.settings import GenerationSettings
from llm.store.database import clean, utc_now
from llm.store.export import FORMAT, VERSION
from llm.store.foreign import translated
from llm.store.values import KINDS, Meta

MAX_BYTES = 256 << 20
MAX_MESSAGES = 100_000
MAX_CONVERSATIONS = 10_000
_MEDIA_TYPE = re.compile(r"(image|audio|video|application)/[A-Za-z0-9][A-Za-z0-9.+-]{0,80}")
_EXTRA_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """`parent` is the place of an earlier message in the list."""

    parent: int | None
    message: Message
    meta: Meta
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReadConversation:
    values: Mapping[str, Any]
    messages: tuple[ReadMessage, ...]
    active: int | None


def read(data: bytes) -> list[ReadConversation]:
    """The conversations of a JSON export, checked to the last value.

    Raises:
        BadImport: the file is too large, not this format, of a newer version, or a value is wrong.
    """
    if len(data) > MAX_BYTES:
        raise BadImport(detail=f"it has {len(data)} bytes and may have {MAX_BYTES}")
    try:
        values = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadImport(detail=f"it is not JSON ({str(error)[:200]})") from error
    if not isinstance(values, dict) or "format" not in values:
        values = translated(values)  # another program's export
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BadImport(detail=f'its "format" is not "{FORMAT}"')
    if values.get("version") != VERSION:
        raise BadImport(detail=f"its version is {_shown(values.get('version'))} and this Hearth reads {VERSION}")
    given = _typed(values, "conversations", list)
    if len(given) > MAX_CONVERSATIONS:
        raise BadImport(detail=f"it has {len(given)} conversations and may have {MAX_CONVERSATIONS}")
    attachments = _attachments(_typed(values, "attachments", dict, {}))
    return [_conversation(item, f"conversations[{at}]", attachments) for at, item in enumerate(given)]


def _conversation(item: Any, where: str, attachments: Mapping[str, bytes]) -> ReadConversation:
    if not isinstance(item, dict):
        raise BadImport(detail=f"{where} is not an object")
    given = _typed(item, "messages", list, where=where)
    if len(given) > MAX_MESSAGES:
        raise BadImport(detail=f"{where} has {len(given)} messages and may have {MAX_MESSAGES}")
    messages = tuple(_message(m, at, f"{where}.messages[{at}]", attachments) for at, m in enumerate(given))
    active = _place(item.get("active"), len(messages), f"{where}.active")
    if active is None and messages:
        active = len(messages) - 1
    created_at = _moment(item, "created_at", where)
    kind = item.get("kind", "image" if any(found.message.images for found in messages) else "chat")
    if kind not in KINDS:
        raise BadImport(detail=f"{where}.kind is {_shown(kind)}; it is one of {', '.join(KINDS)}")
    values = {
        "title": clean(_typed(item, "title", str, "", where))[:1000],
        "title_auto": _typed(item, "title_auto", bool, False, where),
        "created_at": created_at,
        "updated_at": max(created_at, _moment(item, "updated_at", where)),
        "model": clean(_typed(item, "model", str, "", where))[:1000],
        "system_prompt": clean(_typed(item, "system_prompt", str, "", where)),
        "settings": _settings(_typed(item, "settings", dict, {}, where), f"{where}.settings"),
        "kind": kind,
        "pinned": _typed(item, "pinned", bool, False, where),
        "folder": clean(_typed(item, "folder", str, "", where)).strip()[:200],
    }
    return ReadConversation(values, messages, active)


def _message(item: Any, at: int, where: str, attachments: Mapping[str, bytes]) -> ReadMessage:
    if not isinstance(item, dict):
        raise BadImport(detail=f"{where} is not an object")
    role = item.get("role")
    if role not in ROLES:
        raise BadImport(detail=f"{where}.role is {_shown(role)}; it is one of {', '.join(ROLES)}")
    parts = tuple(
        _part(part, f"{where}.parts[{n}]", attachments) for n, part in enumerate(_typed(item, "parts", list, [], where))
    )
    # a parent stands before its children, so a circle cannot be written down
    parent = _place(item.get("parent"), at, f"{where}.parent")
    try:
        meta = Meta.of(_typed(item, "meta", dict, {}, where))
    except ValueError as error:
        raise BadImport(detail=f"{where}.meta: {str(error)[:200]}") from error
    extra = {
        name: value
        for name, value in meta.extra.items()
        if isinstance(value, str | int | float | bool) and len(str(value)) <= _EXTRA_CHARS
    }
    status = "interrupted" if meta.status == "writing" else meta.status
    return ReadMessage(
        parent, Message(role, parts), replace(meta, status=status, extra=extra), _moment(item, "created_at", where)
    )


def _part(value: Any, where: str, attachments: Mapping[str, bytes]) -> Any:
    cls = PART_TYPES.get(value.get("type", "")) if isinstance(value, dict) and _is_text(value.get("type")) else None
    if cls is None:
        raise BadImport(detail=f"{where} is not a part of a known type ({', '.join(PART_TYPES)})")
    if cls in (ImagePart, AudioPart):
        return _media(cls, value, where, attachments)
    fields: dict[str, Any] = {name: kind for name, kind in cls.__annotations__.items()}
    for name, kind in fields.items():
        found = value.get(name)
        if type(found) is not (int if kind == "int" else str):
            raise BadImport(detail=f"{where}.{name} is {_shown(found)}")
        if isinstance(found, int) and not 0 <= found <= 1_000_000:
            raise BadImport(detail=f"{where}.{name} is out of range")
        fields[name] = found
    return cls(**fields)


def _media(cls: type, value: dict[str, Any], where: str, attachments: Mapping[str, bytes]) -> Any:
    sha256 = _typed(value, "sha256", str, where=where)
    media_type = _typed(value, "media_type", str, where=where)
    if sha256 not in attachments:
        raise BadImport(detail=f"{where} refers to an attachment that the file does not hold")
    if not _MEDIA_TYPE.fullmatch(media_type) or not media_type.startswith(("image/", "audio/", "video/")):
        raise BadImport(detail=f"{where}.media_type is {_shown(media_type)}")
    return cls(attachments[sha256], media_type, clean(_typed(value, "name", str, "", where))[:300])


def _attachments(given: dict[str, Any]) -> dict[str, bytes]:
    found = {}
    for sha256, text in given.items():
        try:
            found[sha256] = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise BadImport(detail=f"attachment {_shown(sha256)} is not base64") from error
        if hashlib.sha256(found[sha256]).hexdigest() != sha256:
            raise BadImport(detail=f"attachment {_shown(sha256)} holds other bytes than its name says")
    return found


def _settings(given: dict[str, Any], where: str) -> dict[str, Any]:
    """The settings that this version knows, in range. Unknown ones are left out."""
    defaults = GenerationSettings()
    known = {name: value for name, value in given.items() if hasattr(defaults, name)}
    stop = known.get("stop", [])
    checks = {
        "stop": isinstance(stop, list) and len(stop) <= 64 and all(map(_is_text, stop)),
        "thinking": known.get("thinking") in (None, True, False),
        "logprobs": known.get("logprobs") is None or known["logprobs"] in range(21),
        "json_schema": isinstance(known.get("json_schema"), dict | None),
    }
    for name, right in checks.items():
        if not right:
            raise BadImport(detail=f"{where}.{name} is {_shown(known[name])}")
    try:
        defaults.with_values({**known, "stop": tuple(stop)})
    except (ValueError, TypeError) as error:
        raise BadImport(detail=f"{where}: {str(error)[:200]}") from error
    return known


def _typed(item: dict[str, Any], name: str, kind: type, default: Any = None, where: str = "the file") -> Any:
    value = item.get(name, default)
    if type(value) is not kind:
        raise BadImport(detail=f'"{name}" of {where} is {_shown(value)}')
    return value


def _place(value: Any, end: int, where: str) -> int | None:
    if value is None or (type(value) is int and 0 <= value < end):
        return value
    raise BadImport(detail=f"{where} is {_shown(value)}; it is the place of an earlier message, or null")


def _moment(item: dict[str, Any], name: str, where: str) -> datetime:
    now = utc_now()
    text = _typed(item, name, str, now.isoformat(), where)
    try:
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadImport(detail=f'"{name}" of {where} is {_shown(text)}, not an ISO 8601 moment') from error
    return min(moment, now)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:
    """A wrong value, short enough for a sentence."""
    text = type(value).__name__ if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
