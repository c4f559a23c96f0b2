"""Conversations as files: Markdown to read, JSON to keep and bring back.

The JSON, format version 1 (UTF-8):

    {"format": "hearth-conversations", "version": 1, "exported_at": ISO 8601,
     "conversations": [
        {"title": str, "title_auto": bool, "created_at": ISO 8601, "updated_at": ISO 8601,
         "model": str, "system_prompt": str, "settings": {name: value},
         "kind": "chat", "image" or "knowledge" (found by its messages where it is missing),
         "pinned": bool, "folder": str,
         "active": index of the last message shown or null,
         "messages": [
            {"parent": index of an earlier message of this list or null, "role": str, "created_at": ISO 8601,
             "parts": [as `llm.messages.part_to_dict`, bytes replaced by "sha256"], "meta": as `Meta.to_dict`}]}],
     "attachments": {sha256: bytes in base64}}

Messages refer to each other by their place in the list, so no id of a database is ever given out or taken in.
What the 'Under the hood' panel keeps is left out: it can be longer than everything else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm.errors import NotFound
from llm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from llm.store.attachments import Attachments
from llm.store.database import to_json, utc_now
from llm.store.values import Conversation, StoredMessage

FORMAT = "hearth-conversations"
VERSION = 1
NAMES: Mapping[str, str] = {
    "system": "System",
    "user": "You",
    "assistant": "Assistant",
    "tool": "Tool",
    "thinking": "Thinking",
    "image": "Picture",
    "audio": "Recording",
}
"""The words of a Markdown export; a page gives them in the reader's language."""


def markdown(conversation: Conversation, path: Sequence[StoredMessage], names: Mapping[str, str] | None = None) -> str:
    """The path that is shown, as Markdown. Pictures and recordings are named, not contained."""
    words = {**NAMES, **(names or {})}
    blocks = [f"# {' '.join(conversation.title.split())}" if conversation.title else "# Hearth"]
    about = [conversation.created_at.strftime("%Y-%m-%d %H:%M UTC"), conversation.model]
    blocks.append("*" + " · ".join(value for value in about if value) + "*")
    if conversation.system_prompt:
        blocks += [f"## {words['system']}", conversation.system_prompt.strip()]
    for stored in path:
        blocks.append(f"## {words[stored.message.role]}")
        blocks += [text for part in stored.message.parts if (text := _part_markdown(part, words))]
    return "\n\n".join(blocks) + "\n"


def _part_markdown(part: Part, words: Mapping[str, str]) -> str:
    match part:
        case TextPart():
            return part.text.strip()
        case ThinkingPart():
            return f"<details><summary>{words['thinking']}</summary>\n\n{part.text.strip()}\n\n</details>"
        case DocumentPart():
            return f"**{part.name}**\n\n{_fenced(part.text)}"
        case ImagePart():
            return f"*[{words['image']}: {part.name or part.media_type}]*"
        case AudioPart():
            return f"*[{words['audio']}: {part.name or part.media_type}]*"
        case ToolCallPart():
            return f"`{part.name}`\n\n{_fenced(part.arguments, 'json')}"
        case ToolResultPart():
            return f"`{part.name}`\n\n{_fenced(part.content)}"
        case _:
            return ""


def _fenced(text: str, language: str = "") -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def document(kept: Iterable[tuple[Conversation, Mapping[int, Any], Sequence[Any]]], attachments: Attachments) -> bytes:
    """The JSON file of conversations, each with its message rows, oldest first.

    kept: (conversation, row id -> index, rows) triples.
    """
    hashes: set[str] = set()
    exported = []
    for conversation, places, rows in kept:
        hashes |= {part["sha256"] for row in rows for part in row.parts if "sha256" in part}
        active = conversation.active_leaf
        exported.append(
            {
                "title": conversation.title,
                "title_auto": conversation.title_auto,
                "created_at": conversation.created_at.isoformat(),
                "updated_at": conversation.updated_at.isoformat(),
                "model": conversation.model,
                "system_prompt": conversation.system_prompt,
                "settings": dict(conversation.settings),
                "kind": conversation.kind,
                "pinned": conversation.pinned,
                "folder": conversation.folder,
                "active": None if active is None else places[active],
                "messages": [_message(row, places) for row in rows],
            }
        )
    values = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": utc_now().isoformat(),
        "conversations": exported,
        "attachments": dict(_encoded(sorted(hashes), attachments)),
    }
    return to_json(values).encode("utf-8")


def _message(row: Any, places: Mapping[int, int]) -> dict[str, Any]:
    status = "interrupted" if row.status == "writing" else row.status
    return {
        "parent": None if row.parent_id is None else places[row.parent_id],
        "role": row.role,
        "created_at": row.created_at.isoformat(),
        "parts": row.parts,
        "meta": {**row.meta, "status": status},
    }


def _encoded(hashes: Iterable[str], attachments: Attachments) -> Iterable[tuple[str, str]]:
    for sha256 in hashes:
        try:
            yield sha256, base64.b64encode(attachments.read(sha256)).decode("ascii")
        except NotFound:  # lost from the disk: the rest is worth exporting all the same
            continue
