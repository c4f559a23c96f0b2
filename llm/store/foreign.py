"""Conversations as other programs export them, put into this Hearth's own format before they are checked.

ChatGPT's `conversations.json` (a list of trees by node id), Open WebUI's export (the same idea, other names),
ShareGPT's `conversations` of `from` and `value`, and plain lists of OpenAI's messages. What is no text (pictures that
lie elsewhere) is named in brackets; hidden and empty messages are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from llm.store.export import FORMAT, VERSION

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


def translated(values: Any) -> dict[str, Any] | None:
    """The same in our format, or None where no known program wrote it."""
    items = values if isinstance(values, list) else [values]
    if items and all(_is_message(item) for item in items):
        items = [{"messages": items}]
    found = [made for item in items if isinstance(item, Mapping) and (made := _conversation(item)) is not None]
    if not found or len(found) < len(items):
        return None
    return {"format": FORMAT, "version": VERSION, "conversations": found, "attachments": {}}


def _conversation(item: Mapping[str, Any]) -> dict[str, Any] | None:
    chat = item.get("chat") if isinstance(item.get("chat"), Mapping) else None
    if isinstance(item.get("mapping"), Mapping):
        rows, active = _tree(item["mapping"], item.get("current_node"), _chatgpt_node)
    elif chat is not None and isinstance((chat.get("history") or {}).get("messages"), Mapping):
        history = chat["history"]
        rows, active = _tree(history["messages"], history.get("currentId"), _open_webui_node)
    else:
        given = item.get("messages", item.get("conversations"))
        if not isinstance(given, list) or not all(_is_message(message) for message in given):
            return None
        rows, active = _path(given)
    systems = [row for row in rows if row["role"] == "system"]
    model = item.get("default_model_slug") or next(iter((chat or {}).get("models") or ()), "") or item.get("model")
    times = {"created_at": item.get("create_time", item.get("created_at"))}
    times["updated_at"] = item.get("update_time", item.get("updated_at", times["created_at"]))
    return {
        "title": str(item.get("title") or (chat or {}).get("title") or ""),
        "model": str(model or ""),
        "system_prompt": systems[0]["parts"][0]["text"] if systems else "",
        "messages": _without_systems(rows),
        "active": _shifted(rows, active),
        **{name: stamp for name, value in times.items() if (stamp := _moment(value))},
    }


def _is_message(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return ("role" in value and "content" in value) or ("from" in value and "value" in value)


def _path(given: list[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int | None]:
    """Messages one after another."""
    rows: list[dict[str, Any]] = []
    for message in given:
        role = _ROLES.get(str(message.get("role", message.get("from"))).lower())
        text = _text(message.get("content", message.get("value")))
        if role and text.strip():
            rows.append(_row(role, text, len(rows) - 1 if rows else None, message.get("timestamp")))
    return rows, len(rows) - 1 if rows else None


def _tree(nodes: Mapping[str, Any], current: Any, read: Any) -> tuple[list[dict[str, Any]], int | None]:
    """Messages with their branches, parents first. What is left out hands its children to its own parent."""
    places: dict[str, int | None] = {}
    rows: list[dict[str, Any]] = []
    for key, node in _parents_first(nodes):
        parent = places.get(str(_parent_of(node)))
        role, text, stamp = read(node)
        if role and text.strip():
            rows.append(_row(role, text, parent, stamp))
            places[key] = len(rows) - 1
        else:
            places[key] = parent
    return rows, places.get(str(current))


def _parents_first(nodes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Nodes after their parents, in the file's order; circles are left out."""
    children: dict[str, list[str]] = {}
    for key, node in nodes.items():
        if isinstance(node, Mapping):
            parent = str(_parent_of(node))
            children.setdefault(parent if parent in nodes else "", []).append(key)
    waiting = list(reversed(children.get("", [])))
    while waiting:
        key = waiting.pop()
        yield key, nodes[key]
        waiting += reversed(children.get(key, []))


def _parent_of(node: Mapping[str, Any]) -> Any:
    return node.get("parent", node.get("parentId"))


def _chatgpt_node(node: Mapping[str, Any]) -> tuple[str | None, str, Any]:
    message = node.get("message")
    if not isinstance(message, Mapping):
        return None, "", None
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    role = None if hidden else _ROLES.get(str((message.get("author") or {}).get("role")))
    content = message.get("content") or {}
    return role, _text(content.get("parts", content.get("text", ""))), message.get("create_time")


def _open_webui_node(node: Mapping[str, Any]) -> tuple[str | None, str, Any]:
    return _ROLES.get(str(node.get("role"))), _text(node.get("content")), node.get("timestamp")


def _text(content: Any) -> str:
    """A message's words; parts of other kinds by their kind in brackets."""
    if isinstance(content, list):
        return "\n".join(filter(None, map(_text, content)))
    if isinstance(content, Mapping):
        text = content.get("text")
        return text if isinstance(text, str) else f"[{content.get('content_type') or content.get('type') or 'file'}]"
    return content if isinstance(content, str) else ""


def _row(role: str, text: str, parent: int | None, stamp: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"role": role, "parts": [{"type": "text", "text": text}], "parent": parent, "meta": {}}
    return {**row, "created_at": moment} if (moment := _moment(stamp)) else row


def _without_systems(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = []
    for row in rows:
        if row["role"] != "system":
            kept.append({**row, "parent": _shifted(rows, row["parent"])})
    return kept


def _shifted(rows: list[dict[str, Any]], place: int | None) -> int | None:
    """A place among all rows as one among those that are no system text; their own are their parent's."""
    while place is not None and rows[place]["role"] == "system":
        place = rows[place]["parent"]
    return None if place is None else sum(row["role"] != "system" for row in rows[:place])


def _moment(value: Any) -> str:
    """Seconds (or milliseconds) since 1970 as ISO 8601; empty for what is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e14:
        return ""
    return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC).isoformat()
